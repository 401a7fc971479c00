package links_test

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/links"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

// TestMain is also a program that has a tap and waits to be killed.
func TestMain(m *testing.M) {
	if bridge := os.Getenv("LINKS_TEST_HOLD"); bridge != "" {
		f, name, err := links.CreateTap(bridge)
		if err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		defer f.Close()
		os.Stdout.WriteString(name + "\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	os.Exit(m.Run())
}

// in makes a namespace and calls fn inside it.
func in(t *testing.T, name string, fn func(ns *netns.NS) error) {
	t.Helper()
	testenv.Require(t, testenv.Root)
	ns, err := netns.Create(name, vsock.Global)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Close(), netns.Remove(name)); err != nil {
			t.Error(err)
		}
	})
	if err := ns.Do(func() error { return fn(ns) }); err != nil {
		t.Fatal(err)
	}
}

// here returns the interfaces of the thread's namespace besides lo.
func here(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		t.Error(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name != "lo" {
			names = append(names, name)
		}
	}
	return names
}

func count(t *testing.T, want int, when string) {
	t.Helper()
	if have := here(t); len(have) != want {
		t.Errorf("%s: interfaces %q, want %d", when, have, want)
	}
}

func ours() links.Bridge { return links.Bridge{Name: "br-t", MAC: []byte{2, 0, 0, 0, 0, 9}} }

func TestBridgeAndTap(t *testing.T) {
	b, address := ours(), netip.MustParsePrefix("10.99.1.1/24")
	in(t, "t-links", func(*netns.NS) error {
		if err := b.Remove(); err != nil {
			t.Errorf("remove of none: %v", err)
		}
		if _, err := b.Subnet(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("subnet of none: %v, want fs.ErrNotExist", err)
		}
		if _, _, err := links.CreateTap(b.Name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("tap on no bridge: %v, want fs.ErrNotExist", err)
		}
		for range 2 {
			if err := b.Make(address); err != nil {
				return err
			}
		}
		if s, err := b.Subnet(); s != address.Masked() || err != nil {
			t.Errorf("subnet: %v, %v", s, err)
		}
		if all, err := links.Subnets(); err != nil || len(all) == 0 || all[0] != address.Masked() {
			t.Errorf("subnets: %v, %v", all, err)
		}
		stranger := b
		stranger.MAC = []byte{2, 0, 0, 0, 0, 10}
		if err := stranger.Make(address); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a stranger has the name: %v, want fs.ErrExist", err)
		}
		if err := stranger.Remove(); err != nil {
			t.Error(err)
		}
		count(t, 1, "a stranger's bridge")
		f, name, err := links.CreateTap(b.Name)
		if err != nil {
			return err
		}
		count(t, 2, "with a tap")
		if _, err := links.OpenTap(name); !errors.Is(err, fs.ErrExist) {
			t.Errorf("open of a tap in use: %v, want fs.ErrExist", err)
		}
		if err := b.Remove(); err != nil {
			t.Error(err)
		}
		count(t, 2, "a bridge with a port stays")
		if _, _, err := links.CreateTap(name); !errors.Is(err, links.ErrNoBridge) {
			t.Errorf("tap on a tap: %v, want ErrNoBridge", err)
		}
		f.Close()
		count(t, 1, "after close")
		if err := b.Remove(); err != nil {
			t.Error(err)
		}
		count(t, 0, "after all")
		return nil
	})
}

// TestTapIsGoneWithItsProcess kills who has a tap.
func TestTapIsGoneWithItsProcess(t *testing.T) {
	b := ours()
	in(t, "t-kill", func(*netns.NS) error {
		if err := b.Make(netip.MustParsePrefix("10.99.1.1/24")); err != nil {
			return err
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "LINKS_TEST_HOLD="+b.Name)
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			return err
		}
		said := make([]byte, 64)
		n, _ := out.Read(said)
		if !strings.HasPrefix(string(said[:n]), "vml") {
			t.Errorf("holder says %q", said[:n])
		}
		count(t, 2, "while it lives")
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		count(t, 1, "after kill -9")
		return b.Remove()
	})
}

// persist makes an interface as `ip tuntap add` does.
func persist(t *testing.T, name string, flags uint16) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err == nil {
		r.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenTapOfOthers(t *testing.T) {
	in(t, "t-tap", func(*netns.NS) error {
		persist(t, "fit", unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
		persist(t, "plain", unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_MULTI_QUEUE)
		persist(t, "tun", unix.IFF_TUN|unix.IFF_NO_PI)
		f, err := links.OpenTap("fit")
		if err != nil {
			return err
		}
		f.Close()
		count(t, 3, "an existing tap stays")
		for name, want := range map[string]error{"plain": links.ErrNoTap, "tun": links.ErrNoTap, "lo": links.ErrNoTap, "none": fs.ErrNotExist} {
			if _, err := links.OpenTap(name); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		count(t, 3, "nothing was made by opening")
		return nil
	})
}
