"""Search for a head's hyperparameters on validation: resumable, pruned, by several workers at once."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from typing import TYPE_CHECKING, Annotated, Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import Field, PlainSerializer, PlainValidator

from glmstore.config import Frozen
from glmstore.errors import HeadError, StudyError, TrainingDivergedError
from glmstore.heads import HEADS, Head
from glmstore.heads.base import FitData
from glmstore.objects.places import Place, as_place
from glmstore.probing import Tuned, TuneSettings, fit_data
from glmstore.tuning.journal import StudyFiles
from glmstore.tuning.objects import StudyObjects
from glmstore.views import FeatureView

if TYPE_CHECKING:
    from glmstore.store import FeatureStore

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_STARTUP = 3  # random trials, at least, before the sampler models what it has seen

log = logging.getLogger(__name__)


class StudyRef(Frozen):
    """What a worker needs to take part in a study: text and numbers only."""

    name: str
    folder: Annotated[Place, PlainValidator(as_place), PlainSerializer(str, return_type=str)] = Field(
        description="Folder of the journal: a local one, or s3://…"
    )
    benchmark: str
    view: FeatureView
    head: str
    settings: TuneSettings
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Where the search starts, and what it leaves alone."
    )

    @property
    def title(self) -> str:
        """What is tuned, for people."""
        return f"{self.head} on {self.benchmark} with {self.view.model}"

    @property
    def files(self) -> StudyFiles | StudyObjects:
        """Where the study lies."""
        if isinstance(self.folder, str):
            return StudyObjects(self.folder, self.name)
        return StudyFiles(self.folder, self.name)

    def load(self) -> optuna.Study:
        """Return the Optuna study itself, made if it is not there; a higher score is better.

        Raises
        ------
        StudyError
            If its journal is damaged.
        """
        # Optuna's own handler writes a line a trial to stderr; its records still reach the root logger.
        optuna.logging.disable_default_handler()
        try:
            return optuna.create_study(
                study_name=self.name,
                storage=JournalStorage(self.files.backend()),
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.SuccessiveHalvingPruner(
                    min_resource=self.settings.min_epochs, reduction_factor=self.settings.reduction
                ),
            )
        except (ValueError, KeyError) as error:
            raise StudyError(f"{self.files.place} is damaged ({error}); delete it to search anew.") from error


def open_study(
    store: FeatureStore,
    benchmark: str,
    view: FeatureView,
    head: str,
    settings: TuneSettings,
    folder: Place,
    *,
    overrides: dict[str, Any] | None = None,
    anew: bool = False,
) -> StudyRef:
    """Return the study of one benchmark, view and head, made on first use.

    Its name follows from everything that changes a trial; the number of trials may be raised later. The first
    trial is the head's default configuration and is never pruned, so tuning never loses to it on validation.
    `overrides` change that configuration, and what the head's search space does not draw; `anew` forgets the
    trials there were.

    Raises
    ------
    UnknownNameError
        If benchmark or head is not known.
    HeadError
        If the head has nothing to tune, or an override is not one of its hyperparameters.
    StudyError
        If the folder cannot be written to, or the journal is damaged.
    """
    entry, overrides = HEADS[head], overrides or {}
    if entry.search_space is None:
        raise HeadError(f"head {head} chooses its penalty on validation by itself; it has nothing to tune.")
    if unknown := sorted(set(overrides) - set(entry.defaults)):
        raise HeadError(
            f"head {head} has no hyperparameter {unknown[0]!r}; it has {', '.join(entry.defaults)}."
        )
    identity = [
        store.benchmark_digest(benchmark),
        view.view_id,
        head,
        {**entry.defaults, **overrides},
        settings.model_dump(mode="json", exclude={"n_trials"}),
    ]
    digest = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=8).hexdigest()
    ref = StudyRef(
        name=f"{benchmark}-{head}-{digest}",
        folder=folder if isinstance(folder, str) else folder.absolute(),
        benchmark=benchmark,
        view=view,
        head=head,
        settings=settings,
        overrides=overrides,
    )
    try:
        ref.files.prepare()
        with ref.files.handing_out():
            if anew:
                ref.files.forget()
            study = ref.load()
            if not study.get_trials(deepcopy=False):
                study.enqueue_trial(
                    _searched(entry, {**entry.defaults, **overrides}), user_attrs={"default": True}
                )
    except OSError as error:
        raise StudyError(f"{folder}: no study can be kept there ({error}).") from error
    return ref


def remaining(ref: StudyRef) -> int:
    """Return how many trials of the budget have neither finished nor been pruned."""
    return max(0, ref.settings.n_trials - len(ref.load().get_trials(deepcopy=False, states=_FINISHED)))


def run_trials(store: FeatureStore, ref: StudyRef, n: int | None = None) -> int:
    """Run up to `n` trials (None: all that are left) and return how many this worker ran.

    Several workers may do so at once: together they never start more than the budget. A trial whose worker
    died is failed and its configuration queued again, for whichever worker asks next; so call this until
    :func:`remaining` is 0. Each call reads the features once, and never those of test items.

    Raises
    ------
    HeadError
        If the data do not suit the head; the trial is marked failed and stays in the budget.
    MissingFeaturesError
        If the view lacks an item.
    StudyError
        If the journal is damaged.
    """
    head, data, ran, idle_since = HEADS[ref.head], None, 0, None
    with ref.files.at_work() as worker:
        while n is None or ran < n:
            study = ref.load()
            with ref.files.handing_out():
                trial = _next_trial(study, ref, worker)
            if trial is None:
                idle_since = idle_since or time.monotonic()
                if remaining(ref) == 0 or time.monotonic() - idle_since >= ref.files.dead_after_s:
                    break
                time.sleep(1.0)  # one of those at work may be dead, and its trial then goes to this worker
                continue
            idle_since = None
            if data is None:
                data = fit_data(store, ref.benchmark, ref.view, max_train=ref.settings.max_train)
            _run(study, trial, head, data, ref)
            ran += 1
    return ran


def best(ref: StudyRef) -> Tuned:
    """Return what the study found.

    Raises
    ------
    StudyError
        If trials of the budget are left: what is compared has to be searched alike.
    """
    trials = ref.load().get_trials(deepcopy=False)
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    finished = sum(t.state in _FINISHED for t in trials)
    if finished < ref.settings.n_trials or not complete:
        raise StudyError(
            f"study {ref.name} has run {finished} of {ref.settings.n_trials} trials; run the rest first."
        )
    winner = max(complete, key=_value)
    default = [_value(t) for t in complete if t.user_attrs.get("default")]
    return Tuned(
        study=ref.name,
        hyperparameters=winner.user_attrs["hyperparameters"],
        trials=finished,
        pruned=sum(t.state == TrialState.PRUNED for t in trials),
        valid_score=_value(winner),
        default_score=max(default, default=None),
    )


def _value(trial: FrozenTrial) -> float:
    if trial.value is None:
        raise StudyError(f"trial {trial.number} finished without a score; delete its study and run it again.")
    return trial.value


def _searched(head: Head, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Return those of the hyperparameters that the head's search space draws."""
    if head.search_space is None:
        return {}
    try:
        drawn = head.search_space(optuna.trial.FixedTrial(hyperparameters))  # type: ignore[arg-type]
    except ValueError as error:
        raise HeadError(f"head {head.name} cannot start its search there: {error}") from error
    return {name: hyperparameters[name] for name in drawn}


def _next_trial(study: optuna.Study, ref: StudyRef, worker: str) -> Trial | None:
    """Hand out a trial, or None where the budget is spent or in the hands of others."""
    trials = study.get_trials(deepcopy=False)
    running = [t for t in trials if t.state == TrialState.RUNNING]
    alive = [t for t in running if ref.files.is_at_work(t.user_attrs.get("worker"))]
    for stale in (t for t in running if t not in alive):
        study.tell(stale.number, state=TrialState.FAIL)
        if parameters := {**stale.system_attrs.get("fixed_params", {}), **stale.params}:
            kept = {k: v for k, v in stale.user_attrs.items() if k == "default"}
            study.enqueue_trial(parameters, user_attrs=kept)
    claimed = len(alive) + sum(t.state in _FINISHED for t in trials)
    if claimed >= ref.settings.n_trials:
        return None
    # Seeded by how many trials there are, so that workers never draw the same random configurations.
    study.sampler = optuna.samplers.TPESampler(
        seed=ref.settings.seed * 100_003 + len(trials),
        n_startup_trials=max(_STARTUP, ref.settings.n_trials // 3),
    )
    trial = study.ask()
    trial.set_user_attr("worker", worker)
    return trial


def _run(study: optuna.Study, trial: Trial, head: Head, data: FitData, ref: StudyRef) -> None:
    if head.search_space is None:
        raise HeadError(f"head {head.name} has nothing to tune.")
    may_prune = not trial.user_attrs.get("default")

    def report(epoch: int, score: float) -> None:
        trial.report(score, epoch)
        if trial.should_prune() and may_prune:
            raise optuna.TrialPruned

    hyperparameters = {**head.defaults, **ref.overrides, **head.search_space(trial)}
    trial.set_user_attr("hyperparameters", hyperparameters)
    try:
        fitted = head.fit(
            data,
            seed=ref.settings.seed,
            hyperparameters=hyperparameters,
            max_epochs=ref.settings.max_epochs,
            report=report,
        )
    except UpdateFinishedTrialError:
        log.warning(
            "trial %d of %s was given to another worker: this one showed no life", trial.number, ref.name
        )
    except (optuna.TrialPruned, TrainingDivergedError):
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    except BaseException:
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise
    else:
        study.tell(trial, fitted.valid_score, skip_if_finished=True)
