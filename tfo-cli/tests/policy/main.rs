//! Enforcement on the live kernel: real connections, real bad paths. Needs root; run with `cargo xtask test`.
//!
//! The target has its own harness because the process enters a mount namespace of its own first, and only a
//! process without threads can: the bpffs mounted there goes with it, and with the bpffs every pinned program,
//! however the tests end. Tests run one after the other: they share the root of the cgroup hierarchy.

#![expect(clippy::print_stdout, reason = "a test program says what it found")]

mod capture;
mod carried;
mod crossed;
mod dashboard;
mod destinations;
mod diagnose;
mod doctor;
mod enforce;
mod fair;
mod fallback;
mod files;
mod foreign;
mod guards;
mod ip_deny;
mod left_flags;
mod lifecycle;
mod log;
mod matrix;
mod mptcp;
mod neighbours;
mod observer;
mod packets;
mod policy;
mod programs;
mod pty;
mod runner;
mod scale;
mod strip;
mod support;
mod unit;
mod upgrade;
mod watch;
mod writer;

use runner::Test;

const TESTS: &[Test] = &[
    (
        "matrix::a_rule_is_as_good_as_working_tfo",
        matrix::as_with_working_tfo,
    ),
    (
        "fallback::without_the_push_sockets_at_risk_pass",
        fallback::without_the_push,
    ),
    (
        "enforce::cgroups_prefixes_and_ports_are_told_apart",
        enforce::scopes,
    ),
    ("enforce::the_nearest_cgroup_decides", enforce::nearest_cgroup),
    (
        "enforce::longest_prefix_expiry_and_observe",
        enforce::prefixes_expiry_observe,
    ),
    ("programs::web_clients", programs::web_clients),
    ("programs::resolver", programs::resolver),
    ("capture::no_syn_with_data_leaves", capture::no_data_leaves),
    ("lifecycle::nothing_is_left_behind", lifecycle::nothing_is_left),
    ("lifecycle::numbers_are_never_given_twice", lifecycle::numbers),
    ("lifecycle::flags_are_taken_back", lifecycle::flags_are_taken_back),
    ("lifecycle::bad_input_changes_nothing", lifecycle::bad_input),
    ("doctor::tells_versions_apart", doctor::tells_versions_apart),
    ("files::a_file_is_planned_and_applied", files::planned_and_applied),
    ("files::ports_below_a_wider_rule_are_told", files::gaps),
    ("files::what_others_may_write_is_refused", files::others_write),
    (
        "lifecycle::a_deleted_cgroup_takes_its_rules_along",
        lifecycle::deleted_cgroup,
    ),
    ("lifecycle::killed_commands_leave_old_or_new", lifecycle::killed),
    ("lifecycle::two_at_once_are_serialised", lifecycle::serialised),
    ("lifecycle::looking_needs_no_lock", lifecycle::looked_at),
    ("log::changes_are_told_with_what_where_and_why", log::changes),
    ("unit::starts_reloads_and_stops", unit::starts_reloads_and_stops),
    ("unit::has_the_rights_it_needs", unit::has_the_rights_it_needs),
    (
        "unit::watch_has_the_rights_it_needs",
        unit::watch_has_the_rights_it_needs,
    ),
    ("unit::systemd_takes_it", unit::systemd_takes_it),
    ("observer::denied_whoever_came_first", observer::denied),
    (
        "observer::flags_of_a_killed_copy_go_with_the_next",
        observer::flags_of_a_killed_copy,
    ),
    (
        "left_flags::a_killed_copy_costs_no_segment_a_call",
        left_flags::segments,
    ),
    ("left_flags::the_timers_flag_goes_by_itself", left_flags::timers),
    (
        "left_flags::connections_to_its_listeners_lose_theirs",
        left_flags::children,
    ),
    ("left_flags::those_of_others_stay", left_flags::others),
    (
        "left_flags::a_copy_that_lives_keeps_its_own",
        left_flags::of_the_living,
    ),
    ("observer::a_stripped_option_was_not_sent", observer::stripped),
    ("observer::rules_hold_within_run", observer::within_run),
    ("dashboard::keys_change_rules", dashboard::changes_rules),
    (
        "dashboard::without_the_flag_nothing_is_changed",
        dashboard::only_looks_without_the_flag,
    ),
    ("dashboard::others_are_waited_for", dashboard::waits_for_others),
    ("dashboard::the_guard_is_on_the_page", dashboard::shows_the_guard),
    ("dashboard::looking_is_cheap", dashboard::looking_is_cheap),
    ("diagnose::the_fix_for_lost_data_is_one", diagnose::syn_data),
    ("diagnose::the_fix_for_a_lost_option_is_one", diagnose::option),
    ("diagnose::the_fix_for_resets_is_one", diagnose::reset),
    ("diagnose::the_fix_for_a_grudge_is_one", diagnose::grudge),
    (
        "carried::a_post_in_a_syn_is_found_and_kept_back",
        carried::a_post_in_a_syn,
    ),
    ("carried::nobody_asks_and_nothing_is_noted", carried::nobody_asks),
    (
        "carried::where_nobody_looks_nothing_is_said",
        carried::where_nobody_looks,
    ),
    ("foreign::on_the_same_cgroup", foreign::on_the_same_cgroup),
    ("foreign::on_the_same_interface", foreign::on_the_same_interface),
    ("neighbours::on_a_cgroup_below_in_every_way", neighbours::below_us),
    ("ip_deny::both_directions_beside_us", ip_deny::beside_us),
    ("neighbours::who_lets_nobody_in_is_named", neighbours::in_the_way),
    (
        "neighbours::a_writer_of_options_loses_nothing",
        neighbours::writer_of_options,
    ),
    ("guards::opens_and_comes_back", guards::opens_and_comes_back),
    ("guards::random_loss_does_not_open_it", guards::random_loss),
    ("guards::a_socket_outside_is_nobody_s", guards::who_is_nobody_s),
    (
        "guards::something_fails_meanwhile",
        guards::something_fails_meanwhile,
    ),
    (
        "guards::losses_that_successes_overtake_open_nothing",
        guards::losses_that_successes_overtake,
    ),
    ("guards::resets_are_evidence", guards::resets),
    ("guards::behind_dnat", guards::behind_dnat),
    (
        "guards::a_trial_is_known_without_its_claim",
        guards::without_a_claim,
    ),
    ("crossed::a_crossed_syn_shows_nothing", crossed::no_evidence),
    ("crossed::nor_as_a_trial", crossed::no_trial),
    ("fair::a_restart_is_not_held_against_fast_open", fair::restart),
    ("fair::who_gives_up_early_says_nothing", fair::given_up),
    (
        "fair::who_gives_up_early_on_a_long_path_says_nothing",
        fair::long_path,
    ),
    ("fair::everybody_needs_two_witnesses", fair::witnesses),
    ("fair::one_user_in_many_cgroups_is_one_witness", fair::owners),
    ("fair::a_network_pays_a_few_timeouts", fair::network),
    ("destinations::memory_is_bounded", destinations::bounded),
    ("mptcp::rules_and_guards", mptcp::rules_and_guards),
    ("strip::no_option_leaves", strip::no_option_leaves),
    (
        "strip::no_option_leaves_before_tcx",
        strip::no_option_leaves_before_tcx,
    ),
    (
        "strip::no_experimental_option_leaves",
        strip::no_experimental_option_leaves,
    ),
    (
        "strip::numbers_of_namespaces_are_given_again",
        strip::numbers_of_namespaces_are_given_again,
    ),
    ("strip::interfaces_named_later", strip::named_later),
    ("strip::a_guard_escalates", strip::escalates),
    ("upgrade::programs_are_exchanged_without_a_gap", upgrade::no_gap),
    (
        "upgrade::the_stripper_is_exchanged_without_a_gap",
        upgrade::strip_has_no_gap,
    ),
    (
        "upgrade::the_stripper_is_exchanged_without_a_gap_before_tcx",
        upgrade::strip_has_no_gap_before_tcx,
    ),
    (
        "upgrade::a_set_without_later_maps_is_reloaded",
        upgrade::without_later_maps,
    ),
    (
        "upgrade::a_set_that_lacks_a_map_stays_in_force",
        upgrade::lacks_a_map,
    ),
    (
        "upgrade::watches_of_another_version_are_not_read",
        upgrade::longer_watches,
    ),
    (
        "upgrade::others_cannot_write_to_the_pins",
        upgrade::others_cannot_write,
    ),
    (
        "upgrade::others_cannot_hold_the_lock",
        upgrade::others_cannot_lock,
    ),
    (
        "upgrade::a_stuck_flush_removes_the_rest",
        upgrade::a_stuck_flush_goes_on_before_tcx,
    ),
    ("watch::new_interfaces", watch::new_interfaces),
    ("watch::guards_and_expiry", watch::guards_and_expiry),
    ("watch::restarted_services", watch::restarted_services),
    ("scale::ten_thousand_rules", scale::ten_thousand_rules),
    ("scale::cost_per_packet", scale::cost_per_packet),
    (
        "scale::verified_with_room_to_spare",
        scale::verified_with_room_to_spare,
    ),
];

fn main() -> std::process::ExitCode {
    runner::run(TESTS)
}
