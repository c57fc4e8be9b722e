"""The E. coli lac promoter of the Sort-seq experiment: an activator's site and RNA polymerase's two boxes."""

from glmstore.attribution.sites.base import AnnotatedReference, Site

LAC = AnnotatedReference(
    name="sortseq_lac",
    title="E. coli lac promoter, 75 nt",
    reference="AATTAATGTGAGTTAGCTCACTCATTAGGCACCCCAGGCTTTACACTTTATGCTTCCGGCTCGTATGTTGTGTGG",
    sites=(
        Site(name="CRP", pattern="TGTGAGTTAGCTCACT", start=6, effect="raises"),
        Site(name="-35 box", pattern="TTTACA", start=39, effect="raises"),
        Site(name="-10 box", pattern="TATGTT", start=63, effect="raises"),
    ),
    citation="Kinney, Murugan, Callan & Cox 2010, PNAS 107:9158-9163",
)
