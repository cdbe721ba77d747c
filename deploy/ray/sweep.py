"""Some cells of a sweep in each of several Ray tasks.

    ray job submit -- python deploy/ray/sweep.py --parts 8 [--gpus 1] [--program concord] sweep.toml [-- FLAGS OF THE SWEEP]

The sweep's folder has to be one that all nodes share. A task that was stopped (exit code 6) is started again, and goes on where it was.
"""

import argparse
import subprocess
import sys

import ray

STOPPED = 6
ATTEMPTS = 20


def part(program, file, index, parts, flags):
    """Runs one part; what it said last goes with its exit code."""
    command = [program, "sweep", file, "--shard", f"{index}/{parts}", *flags]
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != STOPPED:
            break
    return index, done.returncode, done.stderr.strip().splitlines()[-1:]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("file")
    arguments.add_argument("--parts", type=int, required=True)
    arguments.add_argument("--gpus", type=float, default=1)
    arguments.add_argument("--cpus", type=float, default=1)
    arguments.add_argument("--program", default="concord")
    arguments.add_argument("flags", nargs=argparse.REMAINDER)
    given = arguments.parse_args()
    flags = given.flags[1:] if given.flags[:1] == ["--"] else given.flags
    ray.init()
    # A node that goes takes its task with it; Ray starts it again elsewhere.
    task = ray.remote(num_gpus=given.gpus, num_cpus=given.cpus, max_retries=ATTEMPTS)(part)
    parts = range(1, given.parts + 1)
    left = [task.remote(given.program, given.file, index, given.parts, flags) for index in parts]
    worst = 0
    while left:
        done, left = ray.wait(left)
        index, code, said = ray.get(done[0])
        print(f"part {index}/{given.parts}: {code}", *said)
        worst = max(worst, code)
    return worst


if __name__ == "__main__":
    sys.exit(main())
