"""Reads what was exported of a run with the readers of other tools, and compares it with the run's own tables."""

import csv
import json
import pathlib
import sys

import yaml
from huggingface_hub import parse_eval_result_entries
from lm_eval.utils import get_results_filenames, get_sample_results_filenames, make_table
from mlflow.tracking import MlflowClient
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore

folder = pathlib.Path(sys.argv[1])
exported = folder / "run" / "export"
checkpoints = ["demo-base", "demo-aligned"]


def expected(checkpoint):
    """The run's own estimates over all questions that passed their gates, by name and filter."""
    found = {}
    with open(exported / "measures.csv", newline="") as file:
        for row in csv.DictReader(file):
            of_all = row["group_by"] in ("", "all") and not row["base"] and row["value"]
            if of_all and row["checkpoint"] == checkpoint and row["is_measurable"] == "true":
                name = row["measure"] if row["quantity"] == "mean" else f"{row['measure']}.{row['quantity']}"
                found[name, row["estimand"]] = float(row["value"])
    return found


count = 0
for checkpoint in checkpoints:
    own = expected(checkpoint)
    assert len(own) >= 4, own

    files = [str(path) for path in (exported / "lm-eval" / checkpoint).iterdir()]
    (results,), (samples,) = get_results_filenames(files), get_sample_results_filenames(files)
    results = json.loads(pathlib.Path(results).read_text())
    table = make_table(results)
    metrics = {key for key in results["results"]["valueconsistency"] if "," in key and "_stderr" not in key and "_ci95_" not in key}
    assert metrics == {f"{name},{kind}" for name, kind in own}, metrics
    for (name, kind), value in own.items():
        assert results["results"]["valueconsistency"][f"{name},{kind}"] == value, (name, kind)
        assert f"|{name}" in table.replace(" ", ""), name
    lines = [json.loads(line) for line in pathlib.Path(samples).read_text().splitlines()]
    assert len(lines) == results["n-samples"]["valueconsistency"]["effective"] > 100
    for line in lines:
        assert abs(sum(line["filtered_resps"][0]) - 1) < 1e-9 and 0 <= line["p_supports"] <= 1 and line["doc"]["question"]

    entries = parse_eval_result_entries(yaml.safe_load((exported / "hub" / checkpoint / ".eval_results" / "valueconsistency.yaml").read_text()))
    assert {entry.task_id: entry.value for entry in entries} == {f"{name}.{kind}": value for (name, kind), value in own.items()}
    assert all(entry.dataset_id == "someone/questions" for entry in entries)
    count += len(own)

client = MlflowClient(tracking_uri=(exported / "mlflow").as_uri())
(experiment,) = [one for one in client.search_experiments() if one.name == "concord valueconsistency"]
runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
assert sorted(runs) == sorted(checkpoints), runs
for checkpoint in checkpoints:
    for (name, kind), value in expected(checkpoint).items():
        assert runs[checkpoint].data.metrics[f"{name}.{kind}"] == value, (name, kind)
    assert runs[checkpoint].data.params["suite"] == "valueconsistency"

found = {}
for path in (exported / "wandb").glob("offline-run-*/run-*.wandb"):
    store = DataStore()
    store.open_for_scan(str(path))
    records = []
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        records.append(record)
    kinds = [record.WhichOneof("record_type") for record in records]
    assert kinds == ["header", "run", "history", "summary", "exit"], kinds
    run = records[1].run
    assert run.project == "concord-valueconsistency" and path.name == f"run-{run.run_id}.wandb"
    assert {item.key: json.loads(item.value_json) for item in run.config.update}["suite"] == "valueconsistency"
    found[run.display_name] = {item.key: json.loads(item.value_json) for item in records[3].summary.update}
assert sorted(found) == sorted(checkpoints), found
for checkpoint in checkpoints:
    for (name, kind), value in expected(checkpoint).items():
        assert found[checkpoint][f"{name}.{kind}"] == value, (name, kind)

markdown = (exported / "markdown" / "measures.md").read_text().splitlines()
rows = [line for line in markdown if line.startswith("|")]
assert rows[0] == "| | demo-base | demo-aligned |" and len({line.count("|") for line in rows}) == 1
assert markdown[-1].startswith("partial: "), markdown
latex = (exported / "latex" / "measures.tex").read_text()
assert latex.count("\\\\\n") == len(rows) and "partial: " in latex and latex.startswith("\\begin{tabular}{lrr}")
pages = sorted(path.name for path in (folder / "man").iterdir())
assert "concord.1" in pages and "concord-run.1" in pages and ".TH concord-run" in (folder / "man" / "concord-run.1").read_text()
assert "_concord" in (folder / "concord.bash").read_text()
print(f"other tools: {count} estimates as the run has them, in lm-eval, the hub's client, MLflow and Weights & Biases")
