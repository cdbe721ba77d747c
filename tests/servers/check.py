"""Compares what was read of one checkpoint here and from a server: `check.py HERE SERVED TOLERANCE`."""

import json
import pathlib
import sys


def readings(run):
    """Every answer of a run that is no written text, by round and prompt."""
    found = {}
    for path in sorted((run / "readings").rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            reading = json.JSONDecoder().raw_decode(line)[0]
            if "answers" in reading:
                found[path.stem.split(".")[-1], reading["id"]] = reading
    return found


def numbers(answer):
    """What is compared of an answer: log-probabilities, by what they are of."""
    if "next_token" in answer:
        next_token = answer["next_token"]
        for label in next_token["labels"]:
            for spelling in label["spellings"]:
                assert not spelling.get("at_most"), spelling
                yield ("label", label["label"], tuple(spelling["tokens"])), spelling["log_prob"]
        # Of tokens that llama-cpp-python writes alike it shows one: then the entropy is what it is at least.
        yield "entropy", (next_token["entropy"], "not_shown" in next_token)
    elif "continuation" in answer:
        for place, token in enumerate(answer["continuation"]["tokens"]):
            yield ("token", place, token["token"]), token["log_prob"]


def main(here, served, tolerance):
    here, served = (readings(pathlib.Path(run)) for run in (here, served))
    ids = {key[1] for key in here}
    assert ids == {key[1] for key in served}, ids ^ {key[1] for key in served}
    by_id = {key[1]: value for key, value in served.items()}
    count, least, worst = 0, 0, (0.0, None)
    for (_, name), reading in here.items():
        assert reading["tokens"] == by_id[name]["tokens"], name
        for ours, theirs in zip(reading["answers"], by_id[name]["answers"], strict=True):
            ours, theirs = dict(numbers(ours)), dict(numbers(theirs))
            assert ours.keys() == theirs.keys(), (name, ours.keys() ^ theirs.keys())
            for what, value in ours.items():
                other = theirs[what]
                if what == "entropy":
                    (value, _), (other, is_least) = value, other
                    least += is_least
                    value = min(value, other) if is_least else value
                    assert other <= value + float(tolerance), (name, value, other)
                count += 1
                worst = max(worst, (abs(value - other), (name, what)), key=lambda pair: pair[0])
    print(f"{len(here)} prompts, {count} numbers; the largest difference is {worst[0]:.1e} nats, of {worst[1]}; {least} entropies are what they are at least")
    assert count > 100 and worst[0] <= float(tolerance), worst


if __name__ == "__main__":
    main(*sys.argv[1:])
