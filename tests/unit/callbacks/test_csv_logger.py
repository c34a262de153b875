import json

import fsspec

from disttrain.callbacks import CSVLogger


def write(path, logs, first=0, state=None, **arguments):
    callback = CSVLogger(path, **arguments)
    callback.on_train_begin()
    if state is not None:
        callback.load_state_dict(state)
    for epoch, entry in enumerate(logs, start=first):
        callback.on_epoch_end(epoch, entry)
    return callback


def test_columns_are_sorted_and_validation_has_its_place(tmp_path):
    write(tmp_path / "log.csv", [{"loss": 0.5, "accuracy": 0.25}, {"loss": 0.25, "val_loss": 3.0}])
    assert (tmp_path / "log.csv").read_bytes().decode() == (
        "epoch,accuracy,loss,val_accuracy,val_loss\r\n0,0.25,0.5,NA,NA\r\n1,NA,0.25,NA,3.0\r\n"
    )


def test_a_value_for_each_class_is_one_cell(tmp_path):
    write(tmp_path / "log.csv", [{"f1": [0.5, 1.0]}], separator=";")
    assert (tmp_path / "log.csv").read_text().splitlines()[1] == '0;"""[0.5, 1.0]""";NA'


def test_appending_writes_the_header_only_into_an_empty_file(tmp_path):
    for epoch in (0, 1):
        write(tmp_path / "log.csv", [{"loss": 0.5}], first=epoch, append=True)
    assert (tmp_path / "log.csv").read_text().splitlines() == ["epoch,loss,val_loss", "0,0.5,NA", "1,0.5,NA"]


def test_a_fresh_run_replaces_the_file(tmp_path):
    (tmp_path / "log.csv").write_text("old")
    write(tmp_path / "log.csv", [])
    assert (tmp_path / "log.csv").read_text() == ""


def test_after_a_restart_each_epoch_stands_there_once(tmp_path):
    for append in (False, True):
        path = tmp_path / f"{append}.csv"
        if append:
            write(path, [{"loss": 9.0}])
        first = write(path, [{"loss": 0.5}], append=append)
        state = json.loads(json.dumps(first.state_dict()))
        first.on_epoch_end(1, {"loss": 0.25})  # done, but lost with the process
        write(path, [{"loss": 0.25}, {"loss": 0.125}], first=1, state=state, append=append)
        rows = path.read_text().splitlines()
        assert rows == ["epoch,loss,val_loss", *(["0,9.0,NA"] if append else []), "0,0.5,NA", "1,0.25,NA", "2,0.125,NA"]


def test_a_url_will_do():
    write("memory://csv-test/a/log.csv", [{"loss": 0.5}])
    assert fsspec.filesystem("memory").cat("/csv-test/a/log.csv") == b"epoch,loss,val_loss\r\n0,0.5,NA\r\n"
