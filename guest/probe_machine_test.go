package guest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/qmp"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// probeImage is the environment variable with the path of probe.rom, for a run
// outside of the tree.
const probeImage = "VMLAUNCH_TEST_PROBE"

// patience bounds each wait for a machine. In an emulator in an emulator on a
// busy host everything may take a hundred times as long as it should.
const patience = 2 * time.Minute

// requireProbe skips t where no machine can have a vsock. That the image is
// missing where one can is a mistake of the run, not of the host.
func requireProbe(t *testing.T, needs ...testenv.Need) (image string) {
	t.Helper()
	testenv.Require(t, append([]testenv.Need{testenv.Root, testenv.QEMU, testenv.VhostVsock}, needs...)...)
	image = os.Getenv(probeImage)
	if image == "" {
		image = filepath.Join("..", "image", "embedded", "probe.rom")
	}
	if _, err := os.Stat(image); err != nil {
		t.Fatalf("%v (try: make -C image/probe, or set %s)", err, probeImage)
	}
	return image
}

// A probeSpec is how a test wants its machine.
type probeSpec struct {
	board string       // "pc" if empty
	ns    *netns.NS    // the test's own namespace if nil
	cid   vsock.CID    // 4200 if 0
	ready *guest.Ready // told when ready; one of the machine's own if nil
}

// A machine is a probe guest under a real QEMU.
type machine struct {
	ns    *netns.NS
	cid   vsock.CID
	token string
	ready *guest.Ready
	qmp   string // path of its socket
	dir   string
	began time.Time

	qemu    *exec.Cmd
	console *transcript
	done    chan struct{} // closed when QEMU has ended; exit is set then
	exit    error
}

// startProbe starts a machine and waits until it has said that it is ready. The
// test ends it.
func startProbe(t *testing.T, image string, s probeSpec) *machine {
	t.Helper()
	if s.board == "" {
		s.board = "pc"
	}
	if s.cid == 0 {
		s.cid = 4200
	}
	if s.ns == nil {
		s.ns = ownNamespace(t)
	}
	if s.ready == nil {
		s.ready = listenReady(t, s.ns, s.cid, 0)
	}
	m := &machine{
		ns: s.ns, cid: s.cid, token: "token-of-" + strings.ReplaceAll(t.Name(), "/", "-"), ready: s.ready,
		dir: t.TempDir(), console: new(transcript), done: make(chan struct{}),
	}
	m.qmp = filepath.Join(m.dir, "qmp")
	m.start(t, image, s.board)
	m.wait(t, "ready", s.ready.Wait)
	t.Logf("ready after %v", time.Since(m.began).Round(time.Millisecond))
	return m
}

func (m *machine) start(t *testing.T, image, board string) {
	t.Helper()
	m.qemu = exec.Command("qemu-system-x86_64", "-accel", "tcg", "-machine", board, "-m", "2", "-nodefaults", "-no-user-config",
		"-display", "none", "-serial", "stdio", "-bios", image,
		"-qmp", "unix:"+m.qmp+",server=on,wait=off",
		"-device", fmt.Sprintf("vhost-vsock-pci,guest-cid=%d", m.cid),
		"-fw_cfg", "name=opt/vmlaunch/name,string=web",
		"-fw_cfg", "name=opt/vmlaunch/token,string="+m.token,
		"-fw_cfg", fmt.Sprintf("name=opt/vmlaunch/notify,string=2:%d", m.ready.Port()))
	m.qemu.Stdout, m.qemu.Stderr = m.console, m.console
	m.began = time.Now()
	if err := m.ns.Do(m.qemu.Start); err != nil {
		t.Fatalf("start %s: %v", m.qemu, err)
	}
	go func() {
		defer close(m.done)
		m.exit = m.qemu.Wait()
	}()
	t.Cleanup(func() {
		_ = m.qemu.Process.Kill()
		<-m.done
		m.awaitFree(t)
		if t.Failed() {
			t.Logf("to repeat: %s\nconsole:\n%s", m.qemu, m.console)
		}
	})
}

// awaitFree waits until the kernel has let the CID go, for who comes next.
func (m *machine) awaitFree(t *testing.T) {
	t.Helper()
	err := m.ns.Do(func() error {
		return eventually(context.Background(), func() error {
			g, err := vsock.Hold(m.cid)
			if err != nil {
				return err
			}
			return g.Close()
		})
	})
	if err != nil {
		t.Errorf("cid %d after the end of QEMU: %v", m.cid, err)
	}
}

// wait runs one of the waits of a test, with a bound, and says what the machine
// said when it fails.
func (m *machine) wait(t *testing.T, what string, wait func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		select {
		case <-m.done: // a QEMU that is gone need not be waited for
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := wait(ctx); err != nil {
		t.Fatalf("wait for %s: %v\nconsole:\n%s", what, err, m.console)
	}
}

// control opens a control connection.
func (m *machine) control(t *testing.T) (p *guest.Probe) {
	t.Helper()
	err := patiently(t.Context(), func() (err error) {
		p, err = guest.DialProbe(t.Context(), m.ns, m.cid, m.token)
		return err
	})
	if err != nil {
		t.Fatalf("%v\nconsole:\n%s", err, m.console)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// dial opens a connection to a port of the machine.
func (m *machine) dial(t *testing.T, port uint32) stream {
	t.Helper()
	conn, err := dialFrom(t, m.ns, m.cid, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// monitor opens a QMP conversation.
func (m *machine) monitor(t *testing.T) *qmp.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := qmp.Dial(ctx, m.qmp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ended waits for the end of QEMU and returns its exit status.
func (m *machine) ended(t *testing.T) int {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-m.done:
	case <-timeout.C:
		t.Fatalf("QEMU does not end\nconsole:\n%s", m.console)
	}
	if exit, ok := errors.AsType[*exec.ExitError](m.exit); ok {
		return exit.ExitCode()
	}
	if m.exit != nil {
		t.Fatal(m.exit)
	}
	return 0
}

// counts asks for the counts of the whole guest, or of a port if it is not 0.
func counts(t *testing.T, p *guest.Probe, port uint32) map[string]uint64 {
	t.Helper()
	line := "COUNT"
	if port != 0 {
		line = fmt.Sprintf("COUNT %d", port)
	}
	n := make(map[string]uint64)
	for field := range strings.FieldsSeq(strings.TrimPrefix(do(t, p, line), "OK")) {
		name, value, _ := strings.Cut(field, "=")
		v, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			t.Fatalf("%s: field %q: %v", line, field, err)
		}
		n[name] = v
	}
	return n
}

// do sends a command that has to succeed.
func do(t *testing.T, p *guest.Probe, line string) string {
	t.Helper()
	answer, err := refuse(t, p, line)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// refuse sends a command whose failure is the test's business.
func refuse(t *testing.T, p *guest.Probe, line string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return p.Do(ctx, line)
}

func ownNamespace(t *testing.T) *netns.NS {
	t.Helper()
	ns, err := netns.Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// localNamespace makes a namespace with a vsock world of its own.
func localNamespace(t *testing.T, name string) *netns.NS {
	t.Helper()
	ns, err := netns.Create(name, vsock.Local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Close(), netns.Remove(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	return ns
}

func listenReady(t *testing.T, ns *netns.NS, cid vsock.CID, port uint32) *guest.Ready {
	t.Helper()
	r, err := guest.ListenReady(ns, cid, port, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// eventually calls look, ten times a second, until it is content, and returns
// its last complaint when ctx or the test's patience ends.
func eventually(ctx context.Context, look func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		err := look()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// patiently tries again what the kernel gave up: it waits 2 s for a guest's
// answer, which is not long where everything is emulated twice.
func patiently(ctx context.Context, dial func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if err := dial(); !errors.Is(err, unix.ETIMEDOUT) || ctx.Err() != nil {
			return err
		}
	}
}

// A transcript keeps what is written to it. It is safe for concurrent use.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *transcript) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
