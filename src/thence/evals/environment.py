"""A task as a Markov decision process with Gymnasium's interface: ``environment(task, verifier)``.

The view of Jun Wang's tutorial and of OpenR (Wang et al. 2024, arXiv:2410.09671): a state is the question and the steps
so far, an action is the text of the next step, the transition appends it, and what is paid is

* without a verifier: 1 for a right answer at the end, 0 everywhere else (gamma = 1);
* with one that has step scores: at every step its score of that step;
* with one that has a number for whole solutions only: that number at the end.

An episode ends with an empty action (the model's end of text) or with a step that holds the final answer, as the
segmenter sees it; it is cut, and paid nothing more, after ``max_steps``. Tree, segmenter and verifier are those of a
search, so the steps of any path of a search's tree, taken as actions, lead to its text, its scores and its grade.

    env = environment(task)
    observation, info = env.reset(seed=0)                       # {"question": …, "solution": ""}
    observation, reward, ended, cut, info = env.step("2 + 3 = 5\\n")

Gymnasium is needed when ``environment`` is called, not to import this module.
"""

from __future__ import annotations

import string
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from thence.core.background import run_sync
from thence.core.completion import Completion, Finish, Origin, Sampling
from thence.core.errors import UsageError, check_counts
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.scores import Meaning
from thence.core.search import Search, Verifier
from thence.core.seeds import derive
from thence.core.segmenter import Segmenter
from thence.core.tree import Kind
from thence.prompts.styles import Bare

if TYPE_CHECKING:
    from gymnasium import Env, Space

Observation: TypeAlias = dict[str, str]
QUESTION_CHARS = 100_000


def environment(
    task: Task,
    verifier: Verifier | None = None,
    *,
    segmenter: Segmenter | None = None,
    max_steps: int = 40,
    step_chars: int = 2_000,
) -> Env[Observation, str]:
    """An environment over the problems of ``task``; steps are at most ``step_chars`` characters long.

    ``reset(seed=…)`` draws a problem, ``reset(options={"problem": ID})`` takes that one. ``info`` has the problem's id
    and, at the end, verdict and answer; ``env.unwrapped.episode.search.tree`` is what has been written. UsageError
    without Gymnasium, for a verifier that needs a model, and where nothing would ever be paid.
    """
    check_counts("environment", max_steps=max_steps, step_chars=step_chars)
    if verifier is not None and verifier.needs:
        lacking = ", ".join(sorted(verifier.needs))
        raise UsageError(f"environment: {verifier.name} needs a model ({lacking}), and there is none; take another one")
    if verifier is None and not task.has_references:
        raise UsageError(f"environment: {task.spec} has no references, so nothing would be paid; give a verifier")
    made: Env[Observation, str] = _environment_class()(task, verifier, segmenter or Segmenter(), max_steps, step_chars)
    return made


class Episode:
    """One solution of one problem, written step by step."""

    def __init__(
        self, task: Task, problem: Problem, verifier: Verifier | None, segmenter: Segmenter, max_steps: int
    ) -> None:
        self._task, self._verifier, self._left = task, verifier, max_steps
        self.search = Search(problem, {}, Bare(), task.reading, Sampling(), segmenter=segmenter)
        self.node = self.search.root
        self.over = False

    @property
    def observation(self) -> Observation:
        """The state: the question, and the solution so far."""
        return {"question": self.search.problem.text, "solution": self.search.tree.solution(self.node)}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append a step: observation, reward, ended, cut, info. UsageError after the end."""
        if self.over:
            raise UsageError("environment: this episode is over; call reset")
        if action:
            self.node = self.search.given(action, self.node)
            self._left -= 1
        else:
            draw = (*self.node.draws[0], derive("given", ""))
            end = Completion.of("", Finish.EOS)
            self.node = self.search.tree.add(self.node, end, draw, kind=Kind.FINISH, origin=Origin.GIVEN)
        ended = self.search.ended(self.node)
        cut = not ended and self._left == 0
        self.over = ended or cut
        reward, told = run_sync(self._judged(action, ended))
        return self.observation, reward, ended, cut, {"problem": self.search.problem.id, **told}

    async def _judged(self, action: str, ended: bool) -> tuple[float, dict[str, Any]]:
        """What this step is paid, and at the end what the task says."""
        reward, told = 0.0, {}
        if ended and self._task.has_references:
            found = await self.search.answer(self.node)
            answer = None if found is None else found.value
            grade = self._task.grade(self.search.problem, self.observation["solution"], answer)
            reward, told = float(grade.correct), {"verdict": str(grade.verdict), "answer": answer}
        if self._verifier is not None:
            (score,) = await self.search.score([self.node], self._verifier)
            if score.meaning is Meaning.OUTCOME or not score.steps:
                reward = score.value if ended else 0.0
            else:
                reward = score.steps[-1] if action else 0.0  # the end of text is no step
        return reward, told


@cache
def _text_space() -> type[Space[str]]:
    """The class of text spaces; made when Gymnasium is first asked for."""
    from gymnasium import Space

    class AnyText(Space[str]):
        """Texts of at most ``most`` characters, of any kind; samples are short and printable."""

        def __init__(self, most: int) -> None:
            super().__init__(shape=None, dtype=str)
            self.most = most

        def sample(self, mask: Any = None, probability: Any = None) -> str:
            """A random text of at most 40 printable characters."""
            if mask is not None or probability is not None:
                raise UsageError("environment: texts are sampled without mask and probabilities")
            length = int(self.np_random.integers(0, min(self.most, 40) + 1))
            return "".join(string.printable[i] for i in self.np_random.integers(0, len(string.printable), length))

        def contains(self, x: Any) -> bool:
            """Whether ``x`` is a text that is not too long."""
            return isinstance(x, str) and len(x) <= self.most

        def __eq__(self, other: object) -> bool:
            return isinstance(other, AnyText) and other.most == self.most

        def __hash__(self) -> int:
            return hash(self.most)

        def __repr__(self) -> str:
            return f"AnyText({self.most})"

        @property
        def is_np_flattenable(self) -> bool:
            """Texts have no fixed size."""
            return False

    return AnyText


@cache
def _environment_class() -> Any:
    """The subclass of Gymnasium's ``Env``."""
    try:
        import gymnasium
    except ImportError:
        raise UsageError("environment: this needs Gymnasium; install it with: pip install gymnasium") from None
    text: Any = _text_space()

    class Environment(gymnasium.Env[Observation, str]):
        """The episodes of one task; see the module's text."""

        metadata = {"render_modes": []}  # noqa: RUF012 - read from the class by Gymnasium

        def __init__(
            self, task: Task, verifier: Verifier | None, segmenter: Segmenter, max_steps: int, step_chars: int
        ) -> None:
            self.task, self.verifier = task, verifier
            self.action_space = text(step_chars)
            both = {"question": text(QUESTION_CHARS), "solution": text(max_steps * step_chars)}
            self.observation_space: Any = gymnasium.spaces.Dict(both)
            self.episode: Episode | None = None
            self._segmenter, self._max_steps, self._step_chars = segmenter, max_steps, step_chars
            self._problems = {problem.id: problem for problem in task.problems()}

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Observation, dict[str, Any]]:
            """A new episode."""
            super().reset(seed=seed)
            name = (options or {}).get("problem")
            if name is None:
                name = list(self._problems)[int(self.np_random.integers(len(self._problems)))]
            if name not in self._problems:
                raise UsageError(f"environment: {self.task.spec} has no problem {name!r}")
            self.episode = Episode(self.task, self._problems[name], self.verifier, self._segmenter, self._max_steps)
            return self.episode.observation, {"problem": name}

        def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
            """Append ``action`` to the solution: observation, reward, ended, cut, info."""
            if self.episode is None:
                raise UsageError("environment: there is no episode; call reset first")
            if action not in self.action_space:
                raise UsageError(f"environment: an action is a text of at most {self._step_chars} characters")
            return self.episode.step(action)

    return Environment


__all__ = ["Episode", "Observation", "environment"]
