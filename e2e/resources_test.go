package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// status returns the fields of /proc/PID/status by name.
func status(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for l := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(l, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

// TestQEMUHasOnlyWhatItNeeds looks at the QEMUs of two machines: each has a user of
// its own and no right that it does not need, and the guest answers all the same.
func TestQEMUHasOnlyWhatItNeeds(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	h := newHost(t)
	users := map[string]bool{}
	for _, name := range []string{"apple", "berry"} {
		h.must("up", name, "--image", "probe")
		h.wantName(probe, name)
		s := status(t, h.inspect(name).PID)
		users[s["Uid"]] = true
		for field, want := range map[string]string{
			"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapAmb": "0000000000000000",
			"NoNewPrivs": "1", "Seccomp": "2", "Groups": "",
		} {
			if s[field] != want {
				t.Errorf("%s of %s: got %q, want %q", field, name, s[field], want)
			}
		}
		h.wantFewFiles(h.inspect(name).PID)
	}
	if len(users) != 2 || users["0 0 0 0"] {
		t.Errorf("users of two machines: %v, want two, neither of them root", users)
	}
	h.wantFailure(3, []string{"no-such-user"}, "up", "date", "--image", "probe", "--run-as", "no-such-user")
}

// wantFewFiles asks for each descriptor of a QEMU with a probe guest.
func (h *host) wantFewFiles(pid int) {
	h.t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) < 5 {
		h.t.Fatalf("descriptors of QEMU: %v, %v", links, err)
	}
	sockets := 0
	for _, l := range links {
		path, err := os.Readlink(l)
		if err != nil {
			continue // closed since
		}
		base := filepath.Base(path)
		switch {
		case strings.HasPrefix(path, "socket:"):
			sockets++
		case !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "/memfd:"): // QEMU's own
		case path == "/dev/null" || path == "/dev/vhost-vsock" || base == "qemu.log" || base == "console.log" || strings.HasSuffix(base, ".rom"):
		default:
			h.t.Errorf("QEMU has %s open, want it not to", path)
		}
	}
	if sockets > 4 { // two listen, two may serve
		h.t.Errorf("QEMU has %d sockets, want its monitor and its console only", sockets)
	}
}

// limited are the flags of a machine with limits, whose QEMU is root's.
func limited(name string) []string {
	return []string{"up", name, "--image", "probe", "--run-as", "root", "--cpu-limit", "0.5", "--memory-limit", "256M", "--tasks-limit", "64"}
}

// wantGroups asks how many control groups of machines there are.
func wantGroups(t *testing.T, want int, after string) {
	t.Helper()
	groups, err := filepath.Glob("/sys/fs/cgroup/vmlaunch/*/cgroup.procs")
	if err != nil || len(groups) != want {
		t.Errorf("%s: control groups %v, %v, want %d", after, groups, err, want)
	}
}

// TestLimitsHoldAndLeaveNothing looks at the group of a machine in the kernel, and for
// what is left of it after each way to end.
func TestLimitsHoldAndLeaveNothing(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	h := newHost(t)
	h.must(limited("apple")...)
	h.wantName(probe, "apple")
	if s := status(t, h.inspect("apple").PID); s["Uid"] != "0 0 0 0" {
		t.Errorf("--run-as root: got %s", s["Uid"])
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", h.inspect("apple").PID))
	group := strings.TrimPrefix(strings.TrimSpace(string(text)), "0::")
	if err != nil || !strings.HasPrefix(group, "/vmlaunch/") {
		t.Fatalf("group of QEMU: %q, %v", text, err)
	}
	for file, want := range map[string]string{"memory.max": "268435456", "cpu.max": "50000 100000", "pids.max": "64", "memory.oom.group": "1"} {
		if got, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, file)); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: got %q, %v, want %s", file, got, err, want)
		}
	}
	h.must("stop", "apple")
	wantGroups(t, 0, "stop")
	h.must("start", "apple")
	wantGroups(t, 1, "start")
	h.must("kill", "apple")
	wantGroups(t, 0, "kill")
	h.must("start", "apple")
	if err := syscall.Kill(h.inspect("apple").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the killed machine to be shown as failed", func() bool { return h.inspect("apple").State == "failed" })
	h.must("ls") // it may have ended between the repairs of that command and its look
	wantGroups(t, 0, "kill -9 of QEMU")
	h.must("rm", "apple")
	h.want(8, append(limited("apple"), "--qemu", "/bin/false")...)
	wantGroups(t, 0, "a QEMU that fails")
	for _, step := range []string{"qemu", "monitor", "keep"} {
		h.env = []string{"VMLAUNCH_TEST_KILL_AT=" + step}
		r := h.run(limited("apple")...)
		h.env = nil
		if r.code != -1 {
			t.Fatalf("want it killed at %s: %s", step, r)
		}
		wantGroups(t, len(h.list()), "up killed at "+step)
		if step != "keep" && len(h.list()) != 0 {
			t.Errorf("killed at %s: %v", step, h.list())
		}
	}
	h.must("down", "apple")
	wantGroups(t, 0, "down")
	h.wantFailure(2, []string{"memory_mib"}, "up", "berry", "--image", "probe", "--memory", "256M", "--memory-limit", "64M")
	h.wantFailure(6, []string{"huge pages"}, "up", "berry", "--image", "probe", "--hugepages")
}
