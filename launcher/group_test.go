package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

func TestLimits(t *testing.T) {
	all := configs.Limits{CPUPercent: 150, MemoryMiB: 512, Tasks: 64}
	settings, controllers := cgroupSettings(all)
	want := []setting{{"cpu.max", "150000 100000"}, {"memory.max", "536870912"}, {"memory.oom.group", "1"}, {"pids.max", "64"}}
	if !slices.Equal(settings, want) || !slices.Equal(controllers, []string{"cpu", "memory", "pids"}) {
		t.Errorf("got %v with %v, want %v", settings, controllers, want)
	}
	got := strings.Join(scopeArgs("web", all, false), "\n")
	for _, part := range []string{"--user\n--scope\n", "--unit=vmlaunch-web.scope", "=CPUQuota=150%", "=MemoryMax=536870912", "=TasksMax=64\n--\ncat"} {
		if !strings.Contains(got, part) {
			t.Errorf("%s: has no %q", got, part)
		}
	}
	if d := cmp.Diff([]string{"--scope", "--quiet", "--collect", "--unit=vmlaunch-web.scope", "--slice=vmlaunch.slice",
		"--description=vmlaunch machine web", "--property=Delegate=yes", "--", "cat"}, scopeArgs("web", configs.Limits{}, true)); d != "" {
		t.Errorf("no limits (-want +got):\n%s", d)
	}
	if err := checkLimits(configs.Limits{}); err != nil {
		t.Errorf("no limits: %v", err)
	}
}

func FuzzUnifiedPath(f *testing.F) {
	f.Add("0::/user.slice/a.scope\n")
	f.Fuzz(func(t *testing.T, text string) {
		path, err := unifiedPath(text)
		if err == nil && (!strings.HasPrefix(path, "/") || !strings.Contains(text, "0::"+path)) {
			t.Errorf("%q: got %q", text, path)
		}
	})
}

// unified returns where this host has control groups of version 2.
func unified(t *testing.T) string {
	t.Helper()
	testenv.Require(t, testenv.Root)
	for _, root := range []string{cgroupRoot, cgroupRoot + "/unified"} {
		if checkUnified(root, "") == nil {
			return root
		}
	}
	t.Skip("no control groups of version 2 (they are in nests)")
	return ""
}

// TestGroupIsBornIntoAndDropped starts a process that starts another in a group of
// its own, and drops the group under both.
func TestGroupIsBornIntoAndDropped(t *testing.T) {
	root, uuid := unified(t), "test-"+newUUID()
	g, err := openGroup(root, uuid, configs.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	cmd := exec.Command("sh", "-c", "sleep 600 & echo up; wait")
	cmd.SysProcAttr = g.into(&syscall.SysProcAttr{Setsid: true})
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatal(err)
	}
	procs, err := os.ReadFile(filepath.Join(groupPath(root, uuid), "cgroup.procs"))
	if err != nil || len(strings.Fields(string(procs))) != 2 {
		t.Errorf("in the group: %q, %v, want both", procs, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 { // none is fine
		if err := dropGroup(ctx, root, uuid); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(groupPath(root, uuid)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("group: %v, want it gone", err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended by itself, want it killed")
	}
}

// TestStartScope is with a double of systemd-run: no systemd runs here. It shows
// the conversation, not what systemd does.
func TestStartScope(t *testing.T) {
	unified(t)
	double := func(script string) string {
		path := filepath.Join(t.TempDir(), "systemd-run")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	g, end, err := startScope(t.Context(), double(`while [ "$1" != -- ]; do shift; done; shift; exec "$@"`), scopeArgs("web", configs.Limits{}, true))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a hybrid host has its groups elsewhere
		t.Fatal(err)
	}
	if err == nil {
		g.Close()
		end()
	}
	_, _, err = startScope(t.Context(), double("echo 'Unit vmlaunch-web.scope was already loaded' >&2; exit 1"), nil)
	if err == nil || !strings.Contains(err.Error(), "already loaded") {
		t.Errorf("got %v, want what systemd says", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err = startScope(ctx, double("exec sleep 600"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}
