#!/usr/bin/env bash
# Some cells of a sweep in each task of a HyperQueue job: deploy/hyperqueue/sweep.sh sweep.toml PARTS [FLAGS OF THE SWEEP]
# A task whose worker goes is started again, and goes on where it was.
set -euo pipefail
file=$1 parts=$2
shift 2
hq submit --array "1-$parts" --cpus 8 --resource "gpus/nvidia=1" --crash-limit 20 --max-fails "$parts" --stdout "concord-%{TASK_ID}.out" \
  -- bash -c '
    for attempt in $(seq 20); do
      "${CONCORD:-concord}" sweep "$0" --shard "$HQ_TASK_ID/$1" "${@:2}"
      code=$?
      [ "$code" = 6 ] || exit "$code"
      sleep 30
    done
    exit 6' \
  "$file" "$parts" "$@"
