"""What the pages promise, and the tests that hold each promise: a sentence without a test goes, or becomes true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Of each page: words that stand there, and tests that fail when they are not true.
PROMISES: dict[str, dict[str, list[str]]] = {
    "README.md": {
        "Kill any worker at any moment": [
            "faults/test_worker_loss.py::test_two_of_four_killed_at_random_moments_come_back_and_change_nothing"
        ],
        "no step is lost": ["faults/test_worker_loss.py::test_a_worker_that_dies_at_a_place_costs_no_step_and_no_bit"],
        "bit for bit those of an undisturbed run, on any number of workers": [
            "integration/test_one_digest.py::test_a_launch_with_any_number_of_workers_gives_the_bits_of_one_process",
            "properties/test_workers_change_nothing.py::test_any_batches_in_any_slices_give_the_same_bits",
        ],
        "run the same command again, and it goes on from the last committed checkpoint": [
            "integration/test_resume.py::test_ctrl_c_keeps_the_step_and_a_killed_driver_is_resumed_by_the_same_command"
        ],
        "this process; Ray is not even imported": ["integration/test_endings.py::test_plain_python_trains_without_ray"],
        "without `run_dir` each such block gets a directory of its own": [
            "unit/launch/test_run_directory.py::test_from_python_each_session_has_a_directory_of_its_own"
        ],
        "a slider over the checkpoints of a run, the newest followed as it is committed": [
            "unit/viewers/test_viewer_app.py::test_a_run_is_followed_and_its_checkpoints_differ"
        ],
        "`--samples 0` keeps none": [
            "unit/launch/test_model_description.py::test_no_samples_are_kept_where_none_are_wanted_or_one_is_too_large"
        ],
        "listens on this machine only": ["unit/viewers/test_viewer_app.py::test_another_host_header_is_refused_everywhere"],
        "loads nothing from elsewhere": [
            "unit/viewers/test_viewer_app.py::test_every_answer_forbids_other_sites_scripts_and_guessing_of_types"
        ],
        "After a crash and resume every curve is whole": [
            "integration/test_tensorboard_under_launch.py::test_a_driver_killed_three_times_leaves_single_unbroken_curves_and_every_counter"
        ],
        "they run once, see metrics over all workers": [
            "integration/test_callbacks_under_launch.py::test_stopping_saving_and_drawing_are_those_of_one_process"
        ],
        "what they change (weights, learning rate, `trainable`) reaches every worker before the next step": [
            "unit/elastic/test_callbacks_on_workers.py::test_a_layer_frozen_and_thawed_by_a_callback_is_so_on_every_worker",
            "unit/elastic/test_callbacks_on_workers.py::test_weights_and_slots_changed_for_validation_are_changed_on_every_worker",
            "unit/elastic/test_driven_runs.py::test_a_rate_that_a_callback_sets_before_the_first_epoch_counts_from_the_first_step",
        ],
        "Their counters survive the driver": ["unit/elastic/test_driven_runs.py::test_what_callbacks_keep_comes_back_with_the_checkpoint"],
        "Names, defaults and numbers are Keras 3's, held against it by tests": ["parity/test_fit_parity.py", "parity/test_ops_parity.py"],
        "Keras 3 opens it, and dt.load_model opens what Keras saved": [
            "parity/test_files_parity.py::test_a_layer_goes_through_files_both_ways"
        ],
        "the same command again resumes": ["unit/launch/test_run_directory.py::test_an_interrupted_run_is_gone_on_with"],
        "a finished run changes nothing": [
            "unit/launch/test_run_directory.py::test_a_finished_run_is_known_as_finished",
            "unit/launch/test_same_run.py::test_a_finished_run_gives_its_results_back_from_python_and_is_not_changed",
        ],
        "`--restart` begins anew: beside it, or in the `--run-dir` given": [
            "unit/launch/test_run_directory.py::test_to_begin_anew_without_a_run_directory_is_to_begin_beside"
        ],
        "and the same rules hold there": ["unit/launch/test_run_directory.py::test_without_a_run_directory_the_rules_are_the_same"],
        "or it is refused by name": ["unit/launch/test_same_run.py::test_another_call_in_the_same_place_is_refused_with_the_difference"],
        "callbacks or epochs are said, and the run goes on": [
            "unit/launch/test_run_directory.py::test_what_may_change_is_said",
            "unit/launch/test_same_run.py::test_more_epochs_and_other_callbacks_are_said_and_go_on",
        ],
        "A damaged newest checkpoint is passed over for the one before, and said so": [
            "unit/launch/test_same_run.py::test_a_damaged_newest_checkpoint_is_passed_over_and_said_and_marked"
        ],
        "`--step N` chooses another": ["unit/launch/test_run_directory.py::test_the_step_to_go_on_from_can_be_chosen"],
        "that is an error, never a silent beginning": [
            "unit/launch/test_same_run.py::test_when_no_checkpoint_is_whole_nothing_begins_anew",
            "unit/launch/test_run_directory.py::test_a_damaged_run_json_is_an_error_while_there_is_something_to_lose",
            "properties/test_run_damage.py::test_one_damaged_file_costs_a_checkpoint_or_a_word_and_never_the_truth",
        ],
        "A run whose last state could not be kept (a full disk) is not finished": [
            "unit/launch/test_same_run.py::test_a_fit_whose_last_state_lies_nowhere_is_not_finished"
        ],
        "Ctrl-C once finishes the step, commits a checkpoint and prints the command to go on": [
            "integration/test_resume.py::test_ctrl_c_keeps_the_step_and_a_killed_driver_is_resumed_by_the_same_command"
        ],
        "twice stops at once": ["integration/test_endings.py::test_after_ctrl_c_twice_nothing_is_left"],
        "A worker that works is waited for, however long its step takes": [
            "unit/elastic/test_long_steps.py::test_steps_longer_than_every_limit_cost_no_healthy_worker_when_one_dies_and_one_joins"
        ],
        "whoever the others wait for is named": [
            "unit/elastic/test_long_steps.py::test_whoever_the_others_wait_for_is_told_by_name_with_the_numbers"
        ],
        "runs the recovery of a launch (the same `decide`)": [
            "unit/simulation/test_simulated_runs.py::test_the_best_interval_is_that_of_young_and_daly"
        ],
        "gives `python train.py` the bits of a launch with V = 4": [
            "integration/test_one_digest.py::test_a_launch_with_any_number_of_workers_gives_the_bits_of_one_process"
        ],
        "so random augmentation repeats": ["unit/data/test_sources.py::test_random_augmentation_repeats_for_the_same_key"],
        "leaves `malloc` alone, and so do settings of your own": [
            "unit/training/test_allocator.py::test_who_says_otherwise_is_heard",
            "unit/training/test_allocator.py::test_settings_of_malloc_that_are_there_stay",
        ],
        "`--watch` follows the run to its end: a page on a terminal, lines in a pipe": [
            "unit/cli/test_watching.py::test_the_page_follows_the_run_on_a_screen_of_its_own_and_ends_with_it",
            "unit/cli/test_watching.py::test_a_pipe_gets_lines_until_the_run_has_ended",
        ],
        "the driver looks into its run directory every second": [
            "unit/cli/test_stop.py::test_a_run_that_is_asked_finishes_its_step_and_keeps_it",
        ],
        "`disttrain --install-completion` teaches bash, zsh or fish commands, options and values": [
            "unit/cli/test_completion.py::test_bash_completes_commands_options_and_values",
            "unit/cli/test_completion.py::test_fish_completes_commands_options_and_values",
            "unit/cli/test_completion.py::test_zsh_completes_what_is_typed",
        ],
        "one Ray for the script and its workers": [
            "integration/test_ray_in_scripts.py::test_a_script_that_uses_ray_before_between_and_after_its_fits_shares_the_ray_of_the_launch",
            "integration/test_ray_in_scripts.py::test_from_python_a_ray_that_the_script_began_is_the_runs_and_stays_the_scripts",
        ],
        "`breakpoint()` in the script and in callbacks stops at the terminal": [
            "integration/test_ray_in_scripts.py::test_breakpoint_in_a_callback_asks_at_the_terminal",
            "integration/test_ray_in_scripts.py::test_breakpoint_in_a_worker_is_an_error_with_its_line",
        ],
        "a step is finished and committed, however long it takes": [
            "integration/test_endings.py::test_sigterm_to_all_of_a_job_lets_a_step_of_five_seconds_end_and_commits_it",
            "integration/test_endings.py::test_a_terminal_that_goes_lets_the_step_be_kept",
        ],
        "command stops at once, and ends once what it started has ended": [
            "integration/test_endings.py::test_sigterm_is_obeyed_while_ray_starts",
            "integration/test_endings.py::test_sigterm_is_obeyed_while_data_are_shipped",
            "unit/launch/test_stopping.py::test_a_script_that_hears_no_signal_is_stopped_from_beside",
        ],
        "`nohup` is heeded": ["unit/launch/test_stopping.py::test_whoever_ignores_a_hangup_goes_on_without_a_terminal"],
        "A reader of its output that leaves (`| head`), and a full disk under its log, end no run": [
            "integration/test_endings.py::test_a_run_outlives_who_reads_what_it_prints",
            "unit/cli/test_streams.py::test_a_full_disk_under_the_log_ends_nothing",
        ],
        "what no retry can mend: wrong use, bad data, a package that is not installed": [
            "unit/test_errors.py::test_what_a_person_typed_is_a_value_error_and_exits_with_2",
            "unit/checkpoint/test_checkpoint_trouble.py::test_what_is_not_installed_is_named_with_the_line_that_installs_it",
        ],
        "Also a bucket that does not answer or has no credentials yet, a full disk, a run that another driver still holds": [
            "unit/checkpoint/test_checkpoint_trouble.py::test_what_a_first_small_file_meets_says_whether_a_retry_can_help",
            "unit/test_errors.py::test_exit_codes_of_the_other_kinds",
        ],
        "or ended itself with a number, which stands in the record of the run's end": [
            "unit/launch/test_session.py::test_the_number_with_which_a_script_ends_itself_stands_in_the_record_of_its_end"
        ],
        "is on loopback alone and, from Ray 2.52 on, asks for a random token; with an older one a line says so": [
            "security/test_the_door.py::test_on_a_laptop_everything_listens_on_loopback_and_security_md_names_it",
            "security/test_the_door.py::test_another_user_of_the_laptop_is_refused_by_everything",
            "unit/clusters/test_tokens.py::test_with_a_ray_that_knows_no_tokens_it_is_told_which_one_does",
        ],
        "What looks like a secret among the arguments of a script": [
            "unit/launch/test_secrets.py::test_the_script_is_given_the_secret_and_no_file_of_the_run_holds_it"
        ],
        "One that gets other bits (AVX2 beside AVX-512, Intel beside AMD, a bad core) is refused by name": [
            "unit/elastic/test_admission.py::test_a_worker_of_another_processor_stays_outside_by_name",
            "unit/elastic/test_audits_of_script_steps.py::test_a_worker_of_another_processor_stays_outside",
        ],
        "what differs is never committed": [
            "unit/elastic/test_replicas.py::test_an_error_of_one_of_three_is_mended_and_laid_at_its_door",
        ],
        "No worker is placed on a machine that has erred twice": [
            "unit/elastic/test_replicas.py::test_a_host_that_errs_twice_gets_no_worker_any_more"
        ],
        "so all see a difference before anything is updated, and only that step is done again": [
            "unit/elastic/test_replicas.py::test_a_wrong_product_is_found_before_it_is_used_and_nothing_is_rolled_back_but_the_step",
            "unit/elastic/test_audits_of_script_steps.py::test_a_wrong_product_is_found_in_its_round_and_only_the_step_is_done_again",
        ],
        "A commit is marked `audited`, and the newest such one is kept": [
            "unit/elastic/test_replicas.py::test_a_commit_says_whether_audits_have_passed_since_the_one_before",
            "unit/controller/test_commits.py::test_the_newest_commit_that_audits_have_passed_before_is_kept",
        ],
        "What cannot be sent to a worker is named with its function, its variable and its line": [
            "unit/elastic/test_unshippable.py::test_what_a_script_ships_is_named_in_the_file_of_the_script"
        ],
    },
    "disttrain/checkpoint/FORMAT.md": {
        "A checkpoint that is damaged or lacks a file is passed over, and said so": [
            "unit/launch/test_same_run.py::test_a_damaged_newest_checkpoint_is_passed_over_and_said_and_marked",
            "unit/checkpoint/test_checkpoint_reader.py::test_a_damaged_newest_checkpoint_is_skipped_and_the_reason_kept",
        ],
        "If there are checkpoints and none is whole, stop": [
            "unit/checkpoint/test_checkpoint_reader.py::test_no_whole_checkpoint_left_is_an_error_not_a_fresh_start"
        ],
        "An error of the storage, or a newer format version, stops the load": [
            "unit/checkpoint/test_checkpoint_reader.py::test_a_newer_format_is_not_skipped_for_an_older_checkpoint",
            "unit/checkpoint/test_checkpoint_reader.py::test_a_storage_fault_is_raised_not_skipped",
        ],
        "one that is damaged is then refused, not passed over": [
            "unit/launch/test_run_directory.py::test_the_step_to_go_on_from_can_be_chosen"
        ],
        "A reader refuses a higher version before it looks at anything else": [
            "unit/checkpoint/test_checkpoint_manifest.py::test_a_newer_format_is_refused_by_its_version"
        ],
        "A reader refuses a manifest unless": [
            "unit/checkpoint/test_checkpoint_manifest.py::test_hostile_manifests_with_a_fitting_digest_are_refused"
        ],
        "there is no checkpoint, and what was before is untouched": [
            "unit/checkpoint/test_checkpoint_kill_points.py::test_killed_at_any_system_call_the_last_committed_checkpoint_loads"
        ],
        "What a driver commits after another took over is therefore no part of the history": [
            "unit/checkpoint/test_checkpoint_history.py::test_what_a_zombie_commits_after_the_takeover_falls_outside"
        ],
        "Only the newest attempt deletes": ["unit/checkpoint/test_checkpoint_retention.py::test_a_superseded_driver_sweeps_nothing"],
        "A data file is a safetensors file": [
            "unit/checkpoint/test_checkpoint_writer.py::test_a_shard_is_a_safetensors_file_that_other_tools_read"
        ],
        "that is damage, and no reason to begin anew": [
            "unit/launch/test_run_directory.py::test_attempts_that_are_gone_are_an_error_while_checkpoints_are_there",
            "unit/launch/test_run_directory.py::test_a_damaged_run_json_is_an_error_while_there_is_something_to_lose",
        ],
    },
    "SECURITY.md": {
        "holds the table against the sockets of real runs, and attacks both kinds from another network namespace while they train": [
            "security/test_the_door.py::test_on_a_laptop_everything_listens_on_loopback_and_security_md_names_it",
            "security/test_the_door.py::test_on_a_cluster_what_listens_is_what_security_md_names",
            "security/test_the_door.py::test_from_another_machine_nothing_of_a_run_on_a_laptop_can_be_reached",
            "security/test_the_door.py::test_a_stranger_who_reaches_every_port_of_a_cluster_is_refused_by_everything",
        ],
        "in a file of mode 0600 in a folder of mode 0700 that goes with the run": [
            "unit/clusters/test_tokens.py::test_a_ray_of_our_own_has_a_token_that_this_user_alone_reads_and_no_other_run_has",
            "unit/clusters/test_ray_leaves_nothing.py::test_the_folder_is_for_its_owner_alone_and_a_stop_leaves_nothing",
        ],
        "a missing or a wrong one is said at once": [
            "unit/clusters/test_tokens.py::test_a_cluster_that_asks_for_a_token_that_is_not_here_is_told_at_once",
            "unit/clusters/test_tokens.py::test_another_token_than_the_clusters_is_told_with_its_place_and_not_shown",
        ],
        "A cluster that asks for none lets anybody who reaches it run code as its user": [
            "unit/clusters/test_tokens.py::test_a_cluster_without_a_token_is_joined_without_one_and_that_is_told_in_a_line",
            "unit/clusters/test_tokens.py::test_a_token_that_a_cluster_does_not_ask_for_protects_nothing_and_that_is_told",
        ],
        "Ray asks for tokens from 2.52 on": [
            "unit/clusters/test_tokens.py::test_whether_a_ray_knows_tokens_is_known_by_its_version",
            "unit/clusters/test_tokens.py::test_with_a_ray_that_knows_no_tokens_it_is_told_which_one_does",
        ],
        "The store of the run listens at one address": [
            "unit/collectives/test_run_store.py::test_it_listens_at_its_own_address_alone",
            "unit/collectives/test_run_store.py::test_who_does_not_know_the_secret_is_hung_up_on_and_has_changed_nothing",
            "unit/collectives/test_run_store.py::test_a_client_of_torchs_own_store_learns_nothing",
        ],
        "every two workers show each other a proof that is good for this one forming": [
            "unit/collectives/test_acquaintance.py::test_one_that_does_not_know_it_is_found_out_by_everybody"
        ],
        "What looks like a secret is hidden": [
            "unit/launch/test_secrets.py::test_status_and_timeline_hide_what_was_given",
            "unit/launch/test_secrets.py::test_the_line_that_goes_on_hides_the_secret_and_the_password_of_the_run_directory",
        ],
        "a renewed secret counts as the same": ["unit/launch/test_secrets.py::test_a_renewed_secret_goes_on_with_the_same_run"],
        "records are sealed with digests; a damaged or hostile JSON file is an error in words": [
            "unit/rundir/test_damaged_hints.py",
            "unit/launch/test_run_directory.py::test_a_damaged_run_json_is_an_error_while_there_is_something_to_lose",
        ],
        "is read without running code unless `safe_mode=False`": ["unit/models/test_hostile_files.py"],
    },
    "k8s/README.md": {
        "1.6 or newer: older ones probe the pods with `wget`, which the image does not have": [
            "unit/deploy/test_deploy_files.py::test_the_image_has_no_wget_and_every_page_asks_for_an_operator_that_needs_none"
        ],
        "disttrain does not look at drains": [
            "unit/deploy/test_k8s_manifests.py::test_a_node_that_is_drained_is_down_before_its_pod_is_killed",
            "conformance/test_cluster.py::test_a_process_killed_from_outside_is_reported_lost",
        ],
        "every container written here is on a read-only root and without capabilities": [
            "unit/deploy/test_k8s_manifests.py::test_no_pod_has_rights_that_training_does_not_need"
        ],
        "SidecarMode takes no template for it": ["unit/deploy/test_k8s_manifests.py::test_what_the_operator_would_refuse_is_refused"],
        "The exit code decides what happens next": [
            "unit/deploy/test_k8s_manifests.py::test_the_exit_code_says_whether_the_job_tries_again"
        ],
        "KubeRay makes a new cluster (`backoffLimit: 5`) and runs the same command": [
            "unit/deploy/test_k8s_manifests.py::test_the_head_and_the_driver_have_one_life_and_a_new_cluster_after_it"
        ],
        "Each worker has a pod to itself": ["unit/deploy/test_k8s_manifests.py::test_each_worker_has_a_pod_to_itself"],
        "the next pod goes on": ["unit/deploy/test_k8s_manifests.py::test_the_next_pod_finds_the_run_directory_of_the_last"],
    },
    "docs/keras/README.md": {
        "what is missing is an AttributeError that says what to use, not a stub": [
            "unit/test_front_door.py::test_names_gathered_as_in_keras_lead_somewhere_and_exist_there_too"
        ],
        "every layer through files in both directions": ["parity/test_files_parity.py::test_a_layer_goes_through_files_both_ways"],
        "Losses, metrics and gradients add up over slices exactly": [
            "properties/test_workers_change_nothing.py::test_a_loss_does_not_depend_on_the_slices_unless_it_says_so",
            "properties/test_workers_change_nothing.py::test_no_metric_depends_on_the_slices",
        ],
    },
}
EACH = [(page, words, tests) for page, promises in PROMISES.items() for words, tests in promises.items()]

# Rows of these tables say what happens: each has a promise of its own in it, or is in `WITHOUT`, with the reason.
TABLES = {"k8s/README.md": "| what dies | what happens |"}
WITHOUT = {
    "| a worker's pod |": "the others go on in place: README.md; the new pod is the operator's doing",
    "| the script fails |": "what the operator does",
}


def flat(text: str) -> str:
    """Without the breaks of lines."""
    return re.sub(r"\s+", " ", text)


def missing_test(name: str) -> str | None:
    """What is wrong with `folder/file.py::test`, from tests/ on; None where it is there."""
    file, _, function = name.partition("::")
    path = ROOT / "tests" / file
    if not path.is_file():
        return f"there is no tests/{file}"
    if function and not re.search(rf"^ *(async )?def {re.escape(function)}\(", path.read_text(encoding="utf-8"), re.MULTILINE):
        return f"tests/{file} has no {function}"
    return None


@pytest.mark.parametrize(("page", "words", "tests"), EACH, ids=[f"{Path(page).stem}: {words}" for page, words, _ in EACH])
def test_a_promise_stands_on_its_page_and_is_held_by_a_test(page: str, words: str, tests: list[str]):
    assert flat(words) in flat((ROOT / page).read_text(encoding="utf-8")), f"{page} does not say this any more"
    assert tests and [wrong for wrong in map(missing_test, tests) if wrong is not None] == []


@pytest.mark.parametrize(("page", "head"), TABLES.items())
def test_every_row_of_a_table_of_what_happens_is_promised_for(page: str, head: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = text[text.index(head) :].split("\n\n")[0].splitlines()[2:]
    assert rows
    for row in rows:
        held = any(flat(words) in flat(row) for words in PROMISES[page]) or any(row.startswith(begin) for begin in WITHOUT)
        assert held, f"nothing holds {row}"


def test_a_test_that_is_not_there_is_named():
    assert missing_test("nowhere/test_nothing.py") == "there is no tests/nowhere/test_nothing.py"
    assert missing_test("architecture/test_promises.py::test_nothing") == "tests/architecture/test_promises.py has no test_nothing"
    assert missing_test("architecture/test_promises.py::test_a_test_that_is_not_there_is_named") is None
