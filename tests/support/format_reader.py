"""Reads a run directory by `disttrain/checkpoint/FORMAT.md` alone: the standard library and xxhash, nothing of disttrain's."""

import hashlib
import json
import math
import os
import re

import xxhash

COMMIT = re.compile(r"step-(\d{12,})-a(\d{4,})-s(\d{4,})\.json")
PATH = r"checkpoints/data/%s-[0-9a-f]{16}/w(\d\d+)-of-(\d\d+)\.safetensors"
WIDTHS = {"BOOL": 1, "C128": 16, "C32": 4, "C64": 8} | {f"{kind}{bits}": bits // 8 for kind in "IUF" for bits in (8, 16, 32, 64)}
WIDTHS |= {"BF16": 2} | dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), 1)


def sealed(path):
    """The body of a record (section 2)."""
    with open(path, "rb") as file:
        data = file.read()
    assert (data[:11], data[75:84], data[-2:]) == (b'{"sha256":"', b'","body":', b"}\n"), f"{path} is no record"
    assert data[11:75] == hashlib.sha256(data[84:-2]).hexdigest().encode(), f"{path} is damaged"
    return json.loads(data[84:-2])


def history(run):
    """Names that a resume chooses from, newest first (section 5)."""
    commits, attempts = {}, set()
    for file in os.listdir(f"{run}/checkpoints/commits"):
        if match := COMMIT.fullmatch(file):
            commits[int(match[2]), int(match[3])] = file.removesuffix(".json")
    for file in os.listdir(f"{run}/attempts"):
        attempts |= {int(file[:-5])} if re.fullmatch(r"\d{8,}\.json", file) else set()
    numbers, names = attempts | {attempt for attempt, _ in commits}, []
    number, last = max(numbers, default=None), math.inf
    while number is not None:
        own = sorted((seq for attempt, seq in commits if attempt == number), reverse=True)
        names += [commits[number, seq] for seq in own if seq <= last]
        if number not in attempts or sealed(f"{run}/attempts/{number:08d}.json")["fresh"]:
            break
        if not os.path.exists(resume := f"{run}/attempts/{number:08d}.resume.json"):
            number, last = None if own else max((other for other in numbers if other < number), default=None), math.inf
            continue
        origin = COMMIT.fullmatch(f"{sealed(resume)['resumed_from']}.json")
        number, last = (int(origin[2]), int(origin[3])) if origin and int(origin[2]) < number else (None, 0)
    return names


def restore(run, name):
    """{tensor: (dtype, shape, bytes)} of a checkpoint (sections 3, 4 and 7)."""
    body = sealed(f"{run}/checkpoints/commits/{name}.json")
    assert body["format"] == "disttrain-checkpoint" and body["version"] <= 2, "a newer format"
    assert f"step-{body['step']:012d}-a{body['attempt']:04d}-s{body['sequence']:04d}" == name
    rows = {tensor: about["shape"][0] if about["shape"] else 1 for tensor, about in body["tensors"].items()}
    widths = {tensor: WIDTHS[about["dtype"]] * math.prod(about["shape"][1:]) for tensor, about in body["tensors"].items()}
    found = {tensor: {} for tensor in rows}
    for number, file in enumerate(sorted(body["files"], key=lambda file: file["path"])):
        match = re.fullmatch(PATH % name, file["path"])
        assert match and (int(match[1]), int(match[2])) == (number, len(body["files"])), "files of another save"
        with open(f"{run}/{file['path']}", "rb") as opened:
            data = opened.read()
        assert len(data) == file["bytes"] and xxhash.xxh3_128(data[: file["header_bytes"]]).hexdigest() == file["header_digest"]
        sources = [(data, file["pieces"])]
        for earlier in file.get("earlier", []):
            with open(f"{run}/{earlier['path']}", "rb") as opened:
                sources.append((opened.read(), earlier["pieces"]))
        for data, (tensor, first, last, offset, nbytes, digest) in [(data, one) for data, pieces in sources for one in pieces]:
            piece = data[offset : offset + nbytes]
            assert nbytes == (last - first) * widths[tensor] and xxhash.xxh3_128(piece).hexdigest() == digest, f"{tensor} is damaged"
            found[tensor][first] = (last, piece)
    for tensor, pieces in found.items():
        ends = [0, *(pieces[first][0] for first in sorted(pieces))]
        assert pieces and ends[:-1] == sorted(pieces) and ends[-1] == rows[tensor], f"{tensor} has holes"
    about = body["tensors"]
    return {key: (about[key]["dtype"], about[key]["shape"], b"".join(found[key][at][1] for at in sorted(found[key]))) for key in found}
