from __future__ import annotations

import random
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from golden import prefill_logits
from small_model import HEAD_DIM, KEY_VALUE_HEADS, load_small_model

from gptoss_mlx.errors import CacheError
from gptoss_mlx.generation.prompt_cache import PromptCache, common_prefix
from gptoss_mlx.model.transformer import Model

BOUND = 1e-4
WINDOWS = [8, 128]

Logits = npt.NDArray[np.float32]

# Stand-ins for harmony's tokens, in the 512 of the tiny checkpoints.
CHANNEL, START, END, MESSAGE, RETURN, CALL = range(500, 506)
SYSTEM, USER, ASSISTANT, TOOL, ANALYSIS, FINAL, COMMENTARY = range(490, 497)
BOUNDARIES = frozenset({CHANNEL, START, END, MESSAGE})
ANSWER = [START, ASSISTANT]


@pytest.fixture(scope="module", params=WINDOWS)
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    """A small model of each window."""
    return load_small_model(tmp_path_factory.mktemp("small"), request.param)


wide = pytest.mark.parametrize("model", [128], indirect=True)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sliding layers hold little over their slack: short texts need snapshots."""
    for module in ("cache_buffers", "full_cache", "sliding_cache"):
        monkeypatch.setattr(f"gptoss_mlx.model.{module}.STEP_TOKENS", 16)


@dataclass
class Speaker:
    """Text of given lengths, the same for a seed."""

    seed: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def text(self, length: int) -> list[int]:
        """Say tokens that are no boundary."""
        return [self.random.randrange(3, 480) for _ in range(length)]


def message(role: int, text: list[int], end: int = END) -> list[int]:
    """A whole message without a channel."""
    return [START, role, MESSAGE, *text, end]


def said(channel: int, text: list[int], end: int = END) -> list[int]:
    """An assistant's message without ``<|start|>assistant``, as it is generated first."""
    return [CHANNEL, channel, MESSAGE, *text, end]


def ask(cache: PromptCache, model: Model, prompt: list[int], chunk: int = 512) -> Logits:
    """Read a prompt; return the logits that follow it."""
    rest = cache.begin(prompt)
    for i in range(0, len(rest), chunk):
        hidden = cache.prefill(rest[i : i + chunk])
    assert hidden is not None
    return np.array(model.lm_head(hidden)[0, 0])


def answer(cache: PromptCache, tokens: list[int]) -> None:
    """Let the model say ``tokens``, as if they had been drawn."""
    for token in tokens:
        mx.eval(cache.decode(mx.array([token])))
        cache.record(token)


def fresh(model: Model, prompt: list[int]) -> Logits:
    """The logits that follow a prompt when all of it is read anew."""
    logits: Logits = prefill_logits(model, np.array(prompt))[-1]
    return logits


def difference(a: Logits, b: Logits) -> float:
    """The largest difference."""
    return float(np.abs(a - b).max())


@pytest.mark.parametrize(
    ("lengths", "chunk"), [((3, 2, 4), 512), ((30, 80, 60), 37), ((150, 300, 140), 512)]
)
def test_three_turns_with_reasoning_compute_only_what_is_new(
    model: Model, lengths: tuple[int, int, int], chunk: int
) -> None:
    """Each turn reads what follows the longest common prefix, and no token more."""
    speaker = Speaker()
    question, reasoning, final = lengths
    cache = PromptCache(model, boundaries=BOUNDARIES)
    history = message(SYSTEM, speaker.text(90))

    for turn in range(3):
        history += message(USER, speaker.text(question + turn))
        prompt = history + ANSWER
        before = list(cache.tokens)
        logits = ask(cache, model, prompt, chunk)

        assert cache.cached_tokens == common_prefix(before, prompt)
        assert difference(logits, fresh(model, prompt)) <= BOUND
        words = speaker.text(final)
        answer(cache, said(ANALYSIS, speaker.text(reasoning)))
        answer(cache, ANSWER + said(FINAL, words, RETURN))
        history = prompt + said(FINAL, words)
        if turn:
            # The prefix ends behind the channel token of the answer before.
            assert before[cache.cached_tokens - 1] == CHANNEL


@pytest.mark.parametrize("earlier", [0, 3])
def test_a_turn_with_many_calls_goes_back_to_its_start(model: Model, earlier: int) -> None:
    """The next turn drops reasoning from before all the calls, and more than are kept.

    After earlier turns the start is none of the first snapshots, which are kept anyway.
    """
    speaker = Speaker()
    cache = PromptCache(model, boundaries=BOUNDARIES, max_snapshots=8)
    prompt = message(SYSTEM, speaker.text(200))
    for _ in range(earlier):
        prompt += message(USER, speaker.text(150)) + ANSWER
        ask(cache, model, prompt)
        answer(cache, said(ANALYSIS, speaker.text(30)))
        prompt += said(FINAL, speaker.text(150))
    prompt += message(USER, speaker.text(20)) + ANSWER
    kept = list(prompt)
    for _ in range(6):
        logits = ask(cache, model, prompt)
        assert cache.cached_tokens in {
            0,
            len(cache.tokens) - len(prompt[cache.cached_tokens :]),
        }
        thought, call = speaker.text(40), said(COMMENTARY, speaker.text(15), CALL)
        answer(cache, said(ANALYSIS, thought) + ANSWER + call)
        result = message(TOOL, speaker.text(30)) + ANSWER
        prompt = prompt + said(ANALYSIS, thought) + ANSWER + call + result
        kept = kept + call + result

    before = list(cache.tokens)
    following = kept + said(FINAL, speaker.text(5)) + message(USER, [7, 8, 9]) + ANSWER
    logits = ask(cache, model, following)

    assert cache.cached_tokens == common_prefix(before, following)
    assert difference(logits, fresh(model, following)) <= BOUND
    assert len(cache.snapshots) <= 8


@wide
def test_a_tool_s_result_is_read_alone(model: Model) -> None:
    """While a turn goes on nothing is dropped, and nothing is read again."""
    speaker = Speaker()
    cache = PromptCache(model, boundaries=BOUNDARIES)
    prompt = message(USER, speaker.text(20)) + ANSWER
    ask(cache, model, prompt)
    call = said(ANALYSIS, speaker.text(50)) + ANSWER + said(COMMENTARY, [5, 6], CALL)
    answer(cache, call)
    result = message(TOOL, speaker.text(9)) + ANSWER

    logits = ask(cache, model, prompt + call + result)

    assert cache.cached_tokens == len(prompt + call)
    assert difference(logits, fresh(model, prompt + call + result)) <= BOUND


@wide
def test_the_same_prompt_again_reads_one_token(model: Model) -> None:
    """As when an answer is asked for anew."""
    speaker = Speaker()
    cache = PromptCache(model, boundaries=BOUNDARIES)
    prompt = message(SYSTEM, speaker.text(300)) + message(USER, speaker.text(30)) + ANSWER
    ask(cache, model, prompt)
    answer(cache, said(ANALYSIS, speaker.text(250)))

    logits = ask(cache, model, prompt)

    assert cache.cached_tokens == len(prompt) - 1
    assert difference(logits, fresh(model, prompt)) <= BOUND


@wide
@pytest.mark.parametrize("place", [1, 5, 40, 126, 127])
def test_a_change_within_the_first_window_reads_on_from_there(
    model: Model, place: int
) -> None:
    """As when the effort in the system message is another: one snapshot serves all."""
    speaker = Speaker()
    cache = PromptCache(model, boundaries=BOUNDARIES)
    prompt = message(SYSTEM, speaker.text(300)) + ANSWER
    ask(cache, model, prompt)
    answer(cache, said(ANALYSIS, speaker.text(250)))
    changed = [*prompt]
    changed[place] = 481

    logits = ask(cache, model, changed)

    assert cache.cached_tokens == place
    assert difference(logits, fresh(model, changed)) <= BOUND


@wide
def test_a_change_in_the_middle_of_a_message_reads_on_from_its_start(model: Model) -> None:
    """Where no snapshot is, the nearest before is taken."""
    speaker = Speaker()
    cache = PromptCache(model, boundaries=BOUNDARIES)
    first = message(SYSTEM, speaker.text(300))
    prompt = first + message(USER, speaker.text(300))
    ask(cache, model, prompt + message(USER, speaker.text(600)) + ANSWER)
    changed = [*prompt]
    changed[len(first) + 200] = 481

    logits = ask(cache, model, changed)

    assert cache.cached_tokens == len(first) + 3
    assert difference(logits, fresh(model, changed)) <= BOUND


@wide
def test_another_conversation_starts_from_the_shared_instructions(model: Model) -> None:
    """Also after a long conversation, whose other snapshots were given up."""
    speaker = Speaker()
    cache = PromptCache(model, boundaries=BOUNDARIES, max_snapshots=6)
    instructions = message(SYSTEM, speaker.text(250))
    history = [*instructions]
    for _ in range(5):
        history += message(USER, speaker.text(20))
        ask(cache, model, history + ANSWER)
        history += ANSWER + said(FINAL, speaker.text(20))
    other = instructions + message(USER, [9] * 12) + ANSWER

    logits = ask(cache, model, other)

    assert cache.cached_tokens == len(instructions) + 3
    assert difference(logits, fresh(model, other)) <= BOUND


def test_random_edits_leave_no_trace(model: Model) -> None:
    """Whatever the next prompt shares with what was read, its logits are a fresh read's."""
    speaker = Speaker(7)
    cache = PromptCache(model, boundaries=BOUNDARIES, max_snapshots=5)
    prompt = message(SYSTEM, speaker.text(140))
    for _ in range(12):
        cut = speaker.random.randrange(1, len(cache.tokens) + 2)
        prompt = (cache.tokens or prompt)[:cut]
        for _ in range(speaker.random.randrange(1, 4)):
            prompt = prompt + message(USER, speaker.text(speaker.random.randrange(90)))
        before = list(cache.tokens)

        logits = ask(cache, model, prompt, speaker.random.choice([5, 64, 512]))

        assert cache.tokens == prompt
        assert cache.cached_tokens <= common_prefix(before, prompt)
        assert all(layer.offset == len(prompt) for layer in cache.layers)
        assert len(cache.snapshots) <= 5
        assert difference(logits, fresh(model, prompt)) <= BOUND
        answer(cache, said(ANALYSIS, speaker.text(speaker.random.randrange(100))))


@wide
def test_a_token_that_was_read_but_never_recorded_is_forgotten(model: Model) -> None:
    """As when the answer is stopped while the next step is queued."""
    cache = PromptCache(model, boundaries=BOUNDARIES)
    prompt = message(USER, Speaker().text(200)) + ANSWER
    ask(cache, model, prompt)
    answer(cache, [CHANNEL, ANALYSIS])
    cache.decode(mx.array([77]))

    logits = ask(cache, model, [*prompt, CHANNEL, ANALYSIS, MESSAGE])

    assert cache.cached_tokens == len(prompt) + 2
    assert difference(logits, fresh(model, [*prompt, CHANNEL, ANALYSIS, MESSAGE])) <= BOUND


@wide
def test_ctrl_c_in_the_middle_of_a_chunk_leaves_no_trace(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some layers have read the chunk then, and others not."""
    speaker = Speaker()
    cache = PromptCache(model, boundaries=BOUNDARIES)
    prompt = message(SYSTEM, speaker.text(300)) + message(USER, speaker.text(300)) + ANSWER
    rest = cache.begin(prompt)
    cache.prefill(rest[:400])

    def stop(*_: object) -> mx.array:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache.layers[2], "update_and_fetch", stop)
        with pytest.raises(KeyboardInterrupt):
            cache.prefill(rest[400:])
    logits = ask(cache, model, prompt)

    assert 0 < cache.cached_tokens <= 400
    assert difference(logits, fresh(model, prompt)) <= BOUND


@wide
def test_without_snapshots_only_the_slack_is_gone_back(model: Model) -> None:
    """Further back, everything is read again."""
    speaker = Speaker()
    cache = PromptCache(model, boundaries=BOUNDARIES, max_snapshots=0)
    prompt = message(USER, speaker.text(300)) + ANSWER
    ask(cache, model, prompt)
    answer(cache, speaker.text(60))
    ask(cache, model, [*prompt, 481])
    assert cache.cached_tokens == len(prompt)
    answer(cache, speaker.text(600))

    logits = ask(cache, model, [*prompt, 482])

    assert cache.cached_tokens == 0
    assert cache.snapshots == []
    assert difference(logits, fresh(model, [*prompt, 482])) <= BOUND


@wide
def test_snapshots_are_as_small_as_their_windows(model: Model) -> None:
    """They do not hold on to the buffers that they were cut from."""
    cache = PromptCache(model, boundaries=BOUNDARIES, max_snapshots=4)
    prompt: list[int] = []
    for _ in range(12):
        prompt += message(USER, Speaker().text(100))
    ask(cache, model, prompt)
    positions = cache._window - 1 + 8

    assert len(cache.snapshots) == 4
    # 2 sliding layers, keys and values, float32
    most = 2 * 2 * KEY_VALUE_HEADS * positions * HEAD_DIM * 4
    assert all(point.nbytes <= most for point in cache.snapshots)
    assert cache.nbytes > sum(point.nbytes for point in cache.snapshots)


@wide
def test_other_tokens_than_the_prompt_s_are_refused(model: Model) -> None:
    """Its text would not be what the keys are of."""
    cache = PromptCache(model)
    cache.begin([1, 2, 3])

    with pytest.raises(CacheError, match="Tokens 0 to 2 must be the prompt's"):
        cache.prefill([1, 3])


@pytest.mark.parametrize(
    ("a", "b", "length"),
    [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 5], [1, 2, 3], 1)],
)
def test_common_prefix(a: list[int], b: list[int], length: int) -> None:
    """Counts the tokens in front that are alike."""
    assert common_prefix(a, b) == length


@wide
def test_an_empty_prompt_and_a_negative_number_are_refused(model: Model) -> None:
    """Before anything is read."""
    with pytest.raises(ValueError, match="at least one token"):
        PromptCache(model).begin([])
    with pytest.raises(ValueError, match="max_snapshots must be 0 or more: -1"):
        PromptCache(model, max_snapshots=-1)


@wide
def test_freed_memory_is_given_back_after_a_prompt_and_where_a_buffer_grows(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at no other token: what the next one needs is kept."""
    cache = PromptCache(model, boundaries=BOUNDARIES, max_snapshots=0)
    cache.prefill(cache.begin([5] * 16))
    cleared: list[int] = []
    monkeypatch.setattr(mx, "clear_cache", lambda: cleared.append(len(cache.tokens)))

    answer(cache, [6] * 32)
    cache.prefill(cache.begin([*cache.tokens, 5, 5]))

    assert cleared == [16, 32, 48, 50]
