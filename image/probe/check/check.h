/* The native tests: each a function without arguments, named in check.c. */
#ifndef PROBE_CHECK_H
#define PROBE_CHECK_H

#define CHECKS(X) \
	X(request_to_a_closed_port_is_reset) \
	X(echo_returns_bytes_and_credit) \
	X(echo_stops_at_the_peers_credit) \
	X(credit_counts_turn_over_at_32_bits) \
	X(discard_keeps_the_window_open) \
	X(chargen_sends_the_pattern) \
	X(chargen_resets_nonsense) \
	X(bytes_beyond_the_window_reset) \
	X(data_after_its_end_is_ignored) \
	X(half_close_delivers_the_rest) \
	X(full_shutdown_is_answered_with_a_reset) \
	X(peer_that_stops_receiving_ends_an_echo) \
	X(silent_peer_is_reset_after_close) \
	X(ports_of_a_closing_connection_can_be_used_again) \
	X(malformed_packets_are_dropped) \
	X(wrong_types_are_reset_and_harm_nothing) \
	X(wrong_ops_are_counted) \
	X(packets_without_connection_are_reset) \
	X(a_lie_about_credit_is_not_believed) \
	X(full_link_loses_nothing) \
	X(full_table_refuses_and_recovers) \
	X(transport_reset_drops_everything) \
	X(end_of_all_resets_everybody) \
	X(control_greets_and_answers) \
	X(control_takes_lines_in_any_pieces) \
	X(control_says_when_a_line_is_too_long) \
	X(control_waits_for_a_peer_that_does_not_read) \
	X(control_answers_before_the_end) \
	X(listen_and_unlisten) \
	X(counts_are_kept) \
	X(off_waits_until_the_answer_is_read) \
	X(dial_reports_a_line) \
	X(dial_reports_every_end) \
	X(dial_gives_up_on_a_peer_without_room) \
	X(dial_reports_errors) \
	X(dial_dies_with_its_asker) \
	X(ready_is_repeated_until_taken) \
	X(ready_without_an_answer_is_said_three_times) \
	X(ready_address_is_read) \
	X(numbers_and_words) \
	X(noise_does_no_harm) \
	X(streams_come_back_whole)

#define DECLARE(name) void name(void);
CHECKS(DECLARE)
#undef DECLARE

#endif
