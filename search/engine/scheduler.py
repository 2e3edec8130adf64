"""What Ray asks when a trial reports: it is logged, and `strategy.early_stopping` decides.

Ray's own ASHA keeps its rungs in memory only and stops nothing that is not finite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.engine.unpickled import Unpickled
from search.log.events import Decision, Report, Retry, TrialId
from search.log.study import Study
from search.strategy.early_stopping import decide


class LoggedAsha(Unpickled, FIFOScheduler):
    """Logs what trials report, and decides at the rungs which go on."""

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.study = study
        self.errors: dict[TrialId, str] = {}
        """What went wrong last with a trial's process, in Ray's words."""

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A trial's process died; whether it gets another one is for `TrialSource` to say."""
        lines = Path(trial.error_file).read_text(encoding="utf-8").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        self.errors[trial_id(trial)] = said[-1][:300] if said else ""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A trial reported and could go on."""
        key = trial_id(trial)
        known = [r for r in self.study.log.trials[key].reports if r.epoch == result["epoch"]]
        # After a restart a trial yields its last record again; it is decided on only once.
        score = dict(result["metrics"])[self.study.space.selection_metric]
        decision = known[0].decision if known else decide(self.study, key, result["epoch"], score)
        if not known:
            self._log_report(key, result, decision)
        elif decision == "pause":  # and since then it was promoted
            decision = "continue"
        if decision == "continue":
            return str(TrialScheduler.CONTINUE)
        if decision == "stop":
            self.study.log.end(key, "stopped", result["epoch"])
        return str(TrialScheduler.STOP)  # a paused one goes on in any process, from its checkpoint

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial said that it is done; how, is in its last result. Or it was told to stop."""
        key = trial_id(trial)
        if self.study.log.trials[key].is_paused:
            return
        outcome = result.get("outcome", "failed")
        reported = [r.epoch for r in self.study.log.trials[key].reports]
        if outcome == "completed" and result["epoch"] not in reported:
            self._log_report(key, result, "done")
        detail = result.get("detail", "")
        if outcome == "infeasible" and self.study.log.trials[key].retry is None:
            arm, phase, number = key
            self.study.log.append(Retry(arm=arm, phase=phase, number=number, detail=detail))
        else:
            self.study.log.end(key, outcome, result.get("epoch", 0), detail)

    def _log_report(self, key: TrialId, result: dict[str, Any], decision: Decision) -> None:
        arm, phase, number = key
        self.study.log.append(
            Report(
                arm=arm,
                phase=phase,
                number=number,
                epoch=result["epoch"],
                metrics=dict(result["metrics"]),
                views=result["views"],
                seconds=result["seconds"],
                evaluation_seconds=result["evaluation_seconds"],
                first_step=result["first_step"],
                checkpoint_seconds=result["checkpoint_seconds"],
                memory=result["memory"],
                decision=decision,
            )
        )


def trial_id(trial: Any) -> TrialId:
    """Our name of one of Ray's trials."""
    return trial.config["arm"], trial.config["phase"], trial.config["number"]
