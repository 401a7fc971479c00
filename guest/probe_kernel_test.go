package guest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A stream is a vsock connection that can be half closed.
type stream interface {
	net.Conn
	CloseWrite() error
}

func dialFrom(t *testing.T, ns *netns.NS, cid vsock.CID, port uint32) (stream, error) {
	t.Helper()
	var conn net.Conn
	err := patiently(t.Context(), func() error {
		return ns.Do(func() (err error) {
			conn, err = vsock.Dial(t.Context(), cid, port)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn.(stream), nil
}

// TestProbeOnBothBoards goes through what a guest does from start to power-off
// on each board.
func TestProbeOnBothBoards(t *testing.T) {
	image := requireProbe(t)
	for _, board := range []string{"pc", "q35"} {
		t.Run(board, func(t *testing.T) {
			m := startProbe(t, image, probeSpec{board: board})
			if want := fmt.Sprintf("probe web cid %d ready\r\n", m.cid); !strings.HasPrefix(m.console.String(), want) {
				t.Errorf("console: got %q, want %q first", m.console, want)
			}
			t.Run("still", func(t *testing.T) { testProbeStill(t, m) })
			t.Run("greeting", func(t *testing.T) { testProbeGreeting(t, m) })
			t.Run("echo", func(t *testing.T) { testProbeEcho(t, m) })
			t.Run("dial in", func(t *testing.T) { testProbeDialIn(t, m) })
			t.Run("dial out", func(t *testing.T) { testProbeDialOut(t, m) })
			t.Run("listen", func(t *testing.T) { testProbeListen(t, m) })
			t.Run("half close", func(t *testing.T) { testProbeHalfClose(t, m) })
			t.Run("discard and chargen", func(t *testing.T) { testProbeDiscardAndChargen(t, m) })
			t.Run("broken off", func(t *testing.T) { testProbeBrokenOff(t, m) })
			t.Run("asked for", func(t *testing.T) { testProbeAskedFor(t, m) })
			t.Run("reboot", func(t *testing.T) { testProbeReboot(t, m) })
			t.Run("power button", func(t *testing.T) { testProbePowerButton(t, m) })
		})
	}
}

// testProbeStill asks that a machine with nothing to do leaves the host alone: each of
// a hundred that wakes its QEMU for every tick of a timer costs them all.
func testProbeStill(t *testing.T, m *machine) {
	const most = 10 // the timer that ticks from reset on makes 36
	before := wakeups(t, m.qemu.Process.Pid)
	<-time.After(time.Second) // a rate has no other event
	if got := wakeups(t, m.qemu.Process.Pid) - before; got > most {
		t.Errorf("QEMU woke %d times within a second, want at most %d", got, most)
	}
}

// wakeups returns how often the threads of a process have slept, see proc_pid_status(5).
func wakeups(t *testing.T, pid int) (n int) {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(paths) == 0 {
		t.Fatalf("threads of %d: %q, %v", pid, paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		var one int
		if _, err := fmt.Sscan(rest, &one); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		n += one
	}
	return n
}

func testProbeGreeting(t *testing.T, m *machine) {
	p := m.control(t)
	h := p.Hello()
	if h.Name != "web" || h.CID != m.cid || h.Token != m.token || h.Peer.CID != vsock.Host {
		t.Errorf("hello: got %+v, want web, cid %d, token %s, peer 2:…", h, m.cid, m.token)
	}
	for command, want := range map[string]string{
		"PING": "OK pong", "NAME": "OK web", "CID": fmt.Sprintf("OK %d", m.cid),
		"WHOAMI": fmt.Sprintf("OK name=web cid=%d token=%s peer=%v", m.cid, m.token, &h.Peer),
	} {
		if got := do(t, p, command); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
	if got, err := refuse(t, p, "HUH"); got != "ERR unknown command" || err == nil {
		t.Errorf("HUH: got %q, %v", got, err)
	}
	if _, err := guest.DialProbe(t.Context(), m.ns, m.cid, "token of another"); !errors.Is(err, guest.ErrIdentity) {
		t.Errorf("another token: got %v, want %v", err, guest.ErrIdentity)
	}
}

func testProbeEcho(t *testing.T, m *machine) {
	c := m.dial(t, guest.ProbeEcho)
	for n := 1; n <= 200_000; n *= 7 { // smaller and larger than packets and windows
		if err := echoes(c, rand.New(rand.NewPCG(1, uint64(n))), n); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// echoes sends n bytes and asks for the same ones back.
func echoes(c stream, random *rand.Rand, n int) error {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(random.Uint32())
	}
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(out)
		sent <- err
	}()
	in := make([]byte, n)
	_, err := io.ReadFull(c, in)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if !bytes.Equal(in, out) {
		return errors.New("other bytes came back")
	}
	return nil
}

// testProbeDialIn asks for each errno that a host can get from a guest that is up.
func testProbeDialIn(t *testing.T, m *machine) {
	if _, err := dialFrom(t, m.ns, m.cid, 4711); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("closed port: got %v, want %v", err, unix.ECONNRESET)
	}
	if _, err := dialFrom(t, m.ns, m.cid+1, guest.ProbeEcho); !errors.Is(err, unix.ENODEV) {
		t.Errorf("no such cid: got %v, want %v", err, unix.ENODEV)
	}
	// The probe does not offer seqpackets, and the kernel knows.
	err := m.ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrVM{CID: uint32(m.cid), Port: guest.ProbeEcho})
	})
	if !errors.Is(err, unix.ESOCKTNOSUPPORT) {
		t.Errorf("seqpacket: got %v, want %v", err, unix.ESOCKTNOSUPPORT)
	}
}

// testProbeDialOut lets the guest dial, and asks for the errno that a Linux
// guest would have got.
func testProbeDialOut(t *testing.T, m *machine) {
	l := listen(t, m.ns, m.cid, func(c net.Conn) {
		line, _ := bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "you said "+line)
	})
	mute := listen(t, m.ns, m.cid, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	short := listen(t, m.ns, m.cid, func(c net.Conn) { _, _ = io.WriteString(c, "bye") })
	p := m.control(t)

	for _, c := range []struct{ name, line, want string }{
		{"a listener that answers", fmt.Sprintf("DIAL 2 %d good day", l), "end=line read=18 text=you said good day\\n"},
		{"a listener that says nothing", fmt.Sprintf("DIAL 2 %d", mute), "end=quiet read=0 text="},
		{"a listener that hangs up", fmt.Sprintf("DIAL 2 %d", short), "end=eof read=3 text=bye"},
	} {
		// A busy host may not have answered when the guest's patience ends.
		err := eventually(t.Context(), func() error {
			if got, err := refuse(t, p, c.line); err != nil || !strings.HasSuffix(got, c.want) {
				return fmt.Errorf("got %q, %v, want …%q", got, err, c.want)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for line, want := range map[string]unix.Errno{
		"DIAL 2 4712":                     unix.ECONNRESET, // nothing listens there
		fmt.Sprintf("DIAL %d 7", m.cid+1): unix.ETIMEDOUT,
		fmt.Sprintf("DIAL %d 7", m.cid):   unix.ETIMEDOUT, // there is no loopback in it
		"DIAL 2 x":                        unix.EINVAL,
	} {
		err := eventually(t.Context(), func() error {
			if answer, err := refuse(t, p, line); !errors.Is(err, want) {
				return fmt.Errorf("got %q, %v, want %v", answer, err, want)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// listen serves connections of one guest until the test ends, one at a time.
func listen(t *testing.T, ns *netns.NS, cid vsock.CID, serve func(net.Conn)) (port uint32) {
	t.Helper()
	var l *vsock.Listener
	err := ns.Do(func() (err error) {
		l, err = vsock.Listen(0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if peer := c.RemoteAddr().(*vsock.Addr); peer.CID != cid {
				t.Errorf("%v dials, want cid %d", peer, cid)
			}
			serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Port()
}

func testProbeListen(t *testing.T, m *machine) {
	p := m.control(t)
	do(t, p, "LISTEN 8000")
	if _, err := refuse(t, p, "LISTEN 8000"); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("twice: got %v, want %v", err, unix.EADDRINUSE)
	}
	c := m.dial(t, 8000)
	if err := echoes(c, rand.New(rand.NewPCG(2, 2)), 5000); err != nil {
		t.Error(err)
	}
	if n := counts(t, p, 8000); n["connections"] != 1 || n["bytes_in"] != 5000 || n["bytes_out"] != 5000 {
		t.Errorf("counts: got %v, want 1 connection, 5000 bytes each way", n)
	}
	do(t, p, "UNLISTEN 8000")
	if _, err := dialFrom(t, m.ns, m.cid, 8000); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("after UNLISTEN: got %v, want %v", err, unix.ECONNRESET)
	}
	if err := echoes(c, rand.New(rand.NewPCG(2, 3)), 100); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
}

// testProbeHalfClose ends sending with much still on its way back.
func testProbeHalfClose(t *testing.T, m *machine) {
	const n = 50_000 // within the echo's window: the write ends before anything is read
	c := m.dial(t, guest.ProbeEcho)
	if _, err := c.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.Copy(io.Discard, c)
	if got != n || err != nil {
		t.Errorf("after the half close: got %d bytes, %v, want %d and the end", got, err, n)
	}
}

func testProbeDiscardAndChargen(t *testing.T, m *machine) {
	const n = 300_000 // more than a window
	p := m.control(t)
	before := counts(t, p, guest.ProbeDiscard)["bytes_in"]
	d := m.dial(t, guest.ProbeDiscard)
	if _, err := d.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	err := eventually(t.Context(), func() error {
		if got := counts(t, p, guest.ProbeDiscard)["bytes_in"] - before; got != n {
			return fmt.Errorf("discarded: got %d, want %d", got, n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}

	c := m.dial(t, guest.ProbeChargen)
	if _, err := fmt.Fprintf(c, "%d\n", n); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || len(got) != n || !bytes.HasPrefix(got, []byte(" !\"#$")) {
		t.Errorf("chargen: got %d bytes, %v, want %d", len(got), err, n)
	}
	if len(got) == n && !bytes.Equal(got[:100], got[95*74:95*74+100]) {
		t.Error("chargen: the pattern does not come again after 95 lines")
	}
}

// testProbeBrokenOff hangs up in the middle of everything, and asks that the
// guest forgets these connections and serves on.
func testProbeBrokenOff(t *testing.T, m *machine) {
	p := m.control(t)
	before := counts(t, p, 0)
	for range 5 {
		echo, err := dialFrom(t, m.ns, m.cid, guest.ProbeEcho)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = echo.Write(make([]byte, 60_000)) // the answer is not read
		chargen, err := dialFrom(t, m.ns, m.cid, guest.ProbeChargen)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(chargen, "4000000000\n")
		_, _ = io.ReadFull(chargen, make([]byte, 10))
		control := m.control(t)
		_ = errors.Join(echo.Close(), chargen.Close(), control.Close())
	}
	err := eventually(t.Context(), func() error {
		if n := counts(t, p, 0); n["open"] != before["open"] {
			return fmt.Errorf("open connections: got %d, want %d", n["open"], before["open"])
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n := counts(t, p, 0); n["bad"] != before["bad"] {
		t.Errorf("the host's packets count as bad: got %d, want %d", n["bad"], before["bad"])
	}
}

// testProbeReboot asks that the machine comes back, says so, and starts anew,
// while its QEMU and its CID stay.
// testProbeAskedFor asks the kernel whether a guest has its CID: the guest goes on
// as if nobody had, and a stopped one has it too.
func testProbeAskedFor(t *testing.T, m *machine) {
	claimed := func(when string) {
		t.Helper()
		err := m.ns.Do(func() error {
			has, err := vsock.Claimed(m.cid)
			if err == nil && !has {
				err = errors.New("nobody has the cid")
			}
			next, err2 := vsock.Claimed(m.cid + 1)
			if next {
				err = errors.Join(err, errors.New("somebody has the next one"))
			}
			return errors.Join(err, err2)
		})
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	conn := m.dial(t, guest.ProbeEcho)
	before := counts(t, m.control(t), 0)
	for range 100 {
		claimed("running")
	}
	if err := echoes(conn, rand.New(rand.NewPCG(1, 2)), 1000); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
	after := counts(t, m.control(t), 0)
	if before["open"]+1 != after["open"] { // one more to ask for the counts
		t.Errorf("connections open: %d before, %d after", before["open"], after["open"])
	}
	monitor := m.monitor(t)
	if err := monitor.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	claimed("stopped")
	if err := monitor.Cont(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := echoes(conn, rand.New(rand.NewPCG(1, 3)), 1000); err != nil {
		t.Errorf("after it went on: %v", err)
	}
}

func testProbeReboot(t *testing.T, m *machine) {
	if err := m.ready.Close(); err != nil {
		t.Fatal(err)
	}
	again := listenReady(t, m.ns, m.cid, m.ready.Port())
	old := m.dial(t, guest.ProbeEcho)
	if got := do(t, m.control(t), "REBOOT"); got != "OK restarting" {
		t.Errorf("got %q", got)
	}
	err := m.ns.Do(func() error {
		g, err := vsock.Hold(m.cid)
		if err == nil {
			return errors.Join(errors.New("the claim on the cid went away"), g.Close())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	m.wait(t, "ready again", again.Wait)
	if n, err := old.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection from before: read %d bytes, %v, want its end", n, err)
	}
	p := m.control(t)
	err = eventually(t.Context(), func() error { // the connection that told of readiness may be on its way out
		if n := counts(t, p, 0); n["open"] != 1 || n["connections"] > 2 || n["bytes_in"] > 1000 {
			return fmt.Errorf("counts after the reboot: got %v, want those of a new guest", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got := strings.Count(m.console.String(), fmt.Sprintf("cid %d ready\r\n", m.cid)); got != 2 {
		t.Errorf("console: ready %d times, want 2\n%s", got, m.console)
	}
}

func testProbePowerButton(t *testing.T, m *machine) {
	c := m.dial(t, guest.ProbeEcho) // is no reason to stay
	if err := echoes(c, rand.New(rand.NewPCG(3, 3)), 10); err != nil {
		t.Error(err)
	}
	if err := m.monitor(t).Powerdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	pressed := time.Now()
	if exit := m.ended(t); exit != 0 {
		t.Errorf("exit status: got %d, want 0", exit)
	}
	t.Logf("off after %v", time.Since(pressed).Round(time.Millisecond))
	if !strings.HasSuffix(m.console.String(), "probe web off: power button\r\n") {
		t.Errorf("console: got %q", m.console)
	}
}

func TestProbeOff(t *testing.T) {
	image := requireProbe(t)
	for _, board := range []string{"pc", "q35"} {
		t.Run(board, func(t *testing.T) {
			m := startProbe(t, image, probeSpec{board: board})
			if got := do(t, m.control(t), "OFF"); got != "OK going off" {
				t.Errorf("got %q", got)
			}
			if exit := m.ended(t); exit != 0 {
				t.Errorf("exit status: got %d, want 0", exit)
			}
		})
	}
}

// TestProbeServes200Connections holds all of them open and uses them at once.
func TestProbeServes200Connections(t *testing.T) {
	m := startProbe(t, requireProbe(t), probeSpec{})
	const connections = 200
	var conns []stream
	for range connections {
		conns = append(conns, m.dial(t, guest.ProbeEcho))
	}
	var group sync.WaitGroup
	for i, c := range conns {
		group.Go(func() {
			if err := echoes(c, rand.New(rand.NewPCG(4, uint64(i))), 5000); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	group.Wait()
	p := m.control(t)
	if n := counts(t, p, guest.ProbeEcho); n["connections"] != connections || n["bytes_out"] != connections*5000 {
		t.Errorf("counts: got %v, want %d connections with 5000 bytes each", n, connections)
	}
	if n := counts(t, p, 0); n["refused"] != 0 || n["bad"] != 0 {
		t.Errorf("counts: got %v, want none refused and none bad", n)
	}
}

// TestProbeEchoes64MiB sends more than any buffer on the way holds. At first
// nothing is read, until the sender stands: back-pressure loses nothing.
func TestProbeEchoes64MiB(t *testing.T) {
	m := startProbe(t, requireProbe(t), probeSpec{})
	const size = 64 << 20
	c := m.dial(t, guest.ProbeEcho)
	if err := c.SetDeadline(time.Now().Add(5 * patience)); err != nil {
		t.Fatal(err)
	}
	// Repeated in a length that no buffer has, so that bytes that are missing,
	// doubled or in another order show. Hashing would cost more than sending.
	block := make([]byte, 65521)
	_, _ = rand.NewChaCha8([32]byte{5}).Read(block)

	progress := make(chan int, 1)
	sent := make(chan error, 1)
	go func() { sent <- sendBlocks(c, block, size, progress) }()
	standsStill(t, progress)
	began := time.Now()
	got := make([]byte, len(block))
	for left := size; left > 0; {
		n := min(left, len(block))
		if _, err := io.ReadFull(c, got[:n]); err != nil {
			t.Fatalf("after %d bytes: %v", size-left, err)
		}
		if !bytes.Equal(got[:n], block[:n]) {
			t.Fatalf("after %d bytes: other bytes came back", size-left)
		}
		left -= n
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	t.Logf("64 MiB there and back in %v", time.Since(began).Round(time.Millisecond))
	if n := counts(t, m.control(t), 0); n["bad"] != 0 || n["bytes_out"] < size {
		t.Errorf("counts: got %v", n)
	}
}

// sendBlocks sends size bytes, block after block, and tells how far it is.
func sendBlocks(c stream, block []byte, size int, progress chan int) error {
	for done := 0; done < size; {
		n, err := c.Write(block[:min(size-done, len(block))])
		if err != nil {
			return fmt.Errorf("write after %d bytes: %w", done, err)
		}
		done += n
		select { // the latest is kept
		case <-progress:
		default:
		}
		progress <- done
	}
	return nil
}

// standsStill waits until a sender has made no progress for a second.
func standsStill(t *testing.T, progress <-chan int) {
	t.Helper()
	done := 0
	for {
		select {
		case done = <-progress:
		case <-time.After(time.Second):
			t.Logf("the sender stands after %d KiB", done>>10)
			if done == 0 || done >= 4<<20 {
				t.Errorf("back-pressure: the sender got rid of %d bytes that nobody read", done)
			}
			return
		case <-t.Context().Done():
			t.Fatal("the sender never stands still")
		}
	}
}

// TestProbeRepeatsReadiness lets nobody listen when the guest comes up, and then
// a listener that goes away without reading.
func TestProbeRepeatsReadiness(t *testing.T) {
	image := requireProbe(t)
	ns := ownNamespace(t)
	const cid = 4200
	first := listenReady(t, ns, cid, 0)
	port := first.Port()
	m := &machine{
		ns: ns, cid: cid, token: "secret", ready: first, dir: t.TempDir(), console: new(transcript), done: make(chan struct{}),
	}
	m.qmp = m.dir + "/qmp"
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	m.start(t, image, "pc")
	p := m.controlWhenUp(t)
	err := eventually(t.Context(), func() error {
		if n := counts(t, p, 0); n["resets_in"] < 2 {
			return fmt.Errorf("tries: got %d, want at least 2", n["resets_in"])
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	second := listenReady(t, ns, cid, port)
	m.wait(t, "ready", second.Wait)
	err = eventually(t.Context(), func() error {
		if !strings.Contains(m.console.String(), "told that it is ready") {
			return fmt.Errorf("console: got %q", m.console)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// controlWhenUp dials until the guest's device is up.
func (m *machine) controlWhenUp(t *testing.T) (p *guest.Probe) {
	t.Helper()
	m.wait(t, "the control port", func(ctx context.Context) error {
		return eventually(ctx, func() (err error) {
			p, err = guest.DialProbe(ctx, m.ns, m.cid, m.token)
			return err
		})
	})
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// TestProbeSameCIDInTwoNamespaces runs two machines with one CID, each in a
// vsock world of its own, and asks that each side reaches its own other side.
func TestProbeSameCIDInTwoNamespaces(t *testing.T) {
	image := requireProbe(t, testenv.VsockModes)
	const cid = 42
	var machines []*machine
	for _, name := range []string{"probe-red", "probe-blue"} {
		m := startProbe(t, image, probeSpec{ns: localNamespace(t, name), cid: cid})
		machines = append(machines, m)
	}
	// One listener a namespace, on one port: the guest's dial says whose answered.
	port := listen(t, machines[0].ns, cid, func(c net.Conn) { _, _ = io.WriteString(c, "red\n") })
	err := machines[1].ns.Do(func() error {
		l, err := vsock.Listen(port)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "blue\n")
				_ = c.Close()
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"text=red\\n", "text=blue\\n"} {
		m := machines[i]
		p := m.control(t)
		if h := p.Hello(); h.CID != cid {
			t.Errorf("cid: got %d, want %d", h.CID, cid)
		}
		do(t, p, fmt.Sprintf("LISTEN %d", 8000+i))
		err := eventually(t.Context(), func() error {
			if got, err := refuse(t, p, fmt.Sprintf("DIAL 2 %d", port)); err != nil || !strings.HasSuffix(got, want) {
				return fmt.Errorf("machine %d dials: got %q, %v, want …%q", i, got, err, want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for i, m := range machines {
		m.dial(t, 8000+uint32(i))
		if _, err := dialFrom(t, m.ns, cid, 8001-uint32(i)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the other one's port from namespace %d: got %v, want %v", i, err, unix.ECONNRESET)
		}
	}
	if _, err := dialFrom(t, ownNamespace(t), cid, guest.ProbeEcho); !errors.Is(err, unix.ENODEV) {
		t.Errorf("from outside: got %v, want %v", err, unix.ENODEV)
	}
}
