"""Attribution and global importance analysis."""
