// Package qmptest is the suite that says what package qmp and a QEMU have to do
// for each other. It runs against the fake QEMU everywhere and against a real
// one where there is one, so the fake can't drift from what it stands for. Most
// cases are faults that were measured in go-qemu's own transport.
package qmptest

import "testing"

// Run runs every case, each against a peer of its own. A case fails its own
// subtest of t.
func Run(t *testing.T, start Start) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *Peer)
	}{
		{"HandshakeComesFirst", handshake},
		{"Greeting", greeting},
		{"RunState", runState},
		{"RefusalKeepsItsClass", refusal},
		{"HumanMonitorErrorIsText", humanMonitor},
		{"GuestIsReset", reset},
		{"QuitAnswersAfterItsEvent", quit},

		{"KilledMidCommand", killedMidCommand},
		{"StoppedIsADeadline", stopped},
		{"StoppedWithAFullSocketBlocksNobody", fullSocket},
		{"StoppedAtDialIsBusy", stoppedAtDial},
		{"SecondClientIsBusy", secondClient},
		{"QueueOfClientsIsFull", fullQueue},
		{"ClosedClient", closed},

		{"MalformedCommandIsNotSent", malformedCommand},
		{"CommandIDsComeBack", commandIDs},
		{"ReplyOver64KiB", bigReply},
		{"ConcurrentCommands", concurrentCommands},
		{"EventStormCorruptsNothing", eventStorm},

		{"EventsBeforeSubscribing", earlyEvents},
		{"EventsAreBroadcast", broadcast},
		{"EventsUnreadBlockNobody", unreadEvents},
		{"EventOverflowIsReported", overflow},
		{"EventStreamEndsWithItsContext", streamContext},

		{"GoQemuRawMonitor", rawMonitor},
		{"GoQemuDomain", domain},
		{"NoGoroutineStays", leak},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, start(t)) })
	}
}
