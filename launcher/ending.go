package launcher

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// The trace points that tell why a QEMU ends. Nobody may be there to reap it or
// to hear the event, but everybody can read its log. A QEMU that was built
// without logging of trace points takes the options and says nothing.
const (
	traceShutdown = "qemu_system_shutdown_request" // with the reason
	traceState    = "runstate_set"                 // ends in "shutdown" in any orderly end
)

// An ending is why a QEMU ended, as far as its log tells.
type ending struct {
	asked bool   // the guest, or somebody on the host, wanted it
	cause string // in words; "" if the log says nothing
}

var (
	shutdownLine = regexp.MustCompile(traceShutdown + ` reason=(\d+)`)
	stateLine    = regexp.MustCompile(traceState + ` .*\(shutdown\)`)
	signalLine   = regexp.MustCompile(`terminating on (signal \d+ from pid \d+[^\n]*)`)
)

// readEnding reads the ending from QEMU's log. A QEMU that was killed, or that
// crashed, had no time to write any.
func readEnding(log []byte) ending {
	if m := last(signalLine.FindAllSubmatch(log, -1)); m != nil {
		return ending{asked: true, cause: "QEMU was ended by " + line(m[1])}
	}
	m := last(shutdownLine.FindAllSubmatch(log, -1))
	if m == nil && stateLine.Match(log) {
		// The one way to end in order without a request: -action reboot=shutdown.
		return shutdownCause(7)
	}
	if m == nil {
		return ending{}
	}
	reason, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return ending{}
	}
	return shutdownCause(reason)
}

func last(matches [][][]byte) [][]byte {
	if len(matches) == 0 {
		return nil
	}
	return matches[len(matches)-1]
}

// shutdownCause translates ShutdownCause of qapi/run-state.json in QEMU's
// source. New values are only added at its end.
func shutdownCause(reason int) ending {
	switch reason {
	case 2, 3:
		return ending{true, "QEMU was told to quit"}
	case 4:
		return ending{true, "QEMU was ended by a signal"}
	case 6:
		return ending{true, "the guest powered off"}
	case 7:
		return ending{false, "the guest restarted (a kernel that panics does)"}
	case 8:
		return ending{false, "the guest panicked"}
	}
	return ending{false, fmt.Sprintf("QEMU shut down for reason %d", reason)}
}

// tailBytes bounds how much of a log is read to show its end.
const tailBytes = 16 << 10

// readTail returns the last bytes of a log, nil if it can't be read.
func readTail(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-tailBytes), io.SeekStart)
	}
	b, _ := io.ReadAll(io.LimitReader(f, tailBytes))
	return b
}

// tail returns the last n lines of a log that have something to say, printable.
func tail(log []byte, n int) []string {
	var lines []string
	for _, l := range bytes.Split(log, []byte("\n")) {
		if s := line(l); s != "" && !strings.Contains(s, traceShutdown) && !strings.Contains(s, traceState) {
			lines = append(lines, s)
		}
	}
	return lines[max(0, len(lines)-n):]
}

// kernelPanic is what Linux says first when it panics; the lines after it are
// about where.
const kernelPanic = "Kernel panic"

// bootTail returns the n lines of a console's log that tell most of a guest that
// died: those from its panic on, or the last ones.
func bootTail(log []byte, n int) []string {
	all := tail(log, len(log))
	for i, l := range all {
		if strings.Contains(l, kernelPanic) {
			return all[i:min(len(all), i+n)]
		}
	}
	return all[max(0, len(all)-n):]
}

var escapeSequence = regexp.MustCompile(`\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-_])`)

// line returns b without blanks at its ends, terminal escapes and control
// characters: a guest writes what it likes, and this goes to a terminal.
func line(b []byte) string {
	b = escapeSequence.ReplaceAll(b, nil)
	if i := bytes.LastIndexByte(bytes.TrimRight(b, "\r"), '\r'); i >= 0 {
		b = b[i+1:] // what a terminal would show last
	}
	s := strings.ToValidUTF8(string(b), "?")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s))
}
