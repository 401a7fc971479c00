package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/bootdisk"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// lab writes a lab's file and returns its path.
func (h *host) lab(name, text string) string {
	h.t.Helper()
	path := filepath.Join(h.root, name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// wantMachines asks that these machines are there, all of them ready, and no
// others.
func (h *host) wantMachines(names ...string) {
	h.t.Helper()
	have := h.list()
	for _, name := range names {
		if m, there := have[name]; !there || m.State != "running" || !m.Ready {
			h.t.Errorf("machine %s: %+v, want it ready", name, m)
		}
	}
	if len(have) != len(names) {
		h.t.Errorf("machines %v, want %q", have, names)
	}
}

// Issue D: every shipped example comes up, answers, is as it should be when asked
// again, and goes without a trace.
func TestExamples(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	for _, name := range configs.Shipped(configs.ShippedExample) {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			file := h.lab(name, h.must("config", "example", name)+"\n")
			h.must("up", "-f", file)
			for _, line := range strings.Split(h.must("exec", "-p", name, "PING"), "\n") {
				if !strings.HasPrefix(line, name+".") || !strings.HasSuffix(line, "| OK pong") {
					t.Errorf("exec says %q", line)
				}
			}
			for _, line := range strings.Split(h.must("plan", "-f", file, "-o", "template={{.action}} {{.name}}"), "\n") {
				if !strings.HasPrefix(line, "keep ") {
					t.Errorf("plan after up: %s", line)
				}
			}
			h.must("down", "-f", file)
			h.wantClean()
		})
	}
}

// Issue D: up changes what differs and nothing else; what the file has no more is
// told, and removed when asked for; down goes by what was made.
func TestLabChanges(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	const head = "name: trio\nnamespaces: {red: , blue: }\ndefaults: {image: probe, netns: red}\nmachines:\n"
	file := h.lab("trio", head+"  db: {cid: 42}\n  web: {cid: 42, netns: blue, depends_on: [db]}\n  old: {}\n")
	h.must("up", "-f", file)
	h.wantMachines("trio.db", "trio.web", "trio.old")
	db, web := h.inspect("trio.db"), h.inspect("trio.web")

	h.lab("trio", head+"  db: {cid: 42}\n  web: {cid: 43, netns: blue, depends_on: [db]}\n")
	plan := h.must("plan", "-f", file)
	for _, words := range []string{"replace  machine    trio.web", "cid (42, want 43)", "remove   machine    trio.old", "keep     machine    trio.db"} {
		if !strings.Contains(plan, words) {
			t.Errorf("plan lacks %q:\n%s", words, plan)
		}
	}
	if r := h.want(0, "up", "-f", file); !strings.Contains(r.stderr, "trio.old") {
		t.Errorf("up does not tell of what the file has no more: %s", r)
	}
	if m := h.inspect("trio.db"); m.PID != db.PID {
		t.Errorf("db was touched: %+v, was %+v", m, db)
	}
	if m := h.inspect("trio.web"); m.PID == web.PID || m.CID != 43 {
		t.Errorf("web was not made anew: %+v", m)
	}
	h.must("up", "-f", file, "--remove-orphans")
	h.wantMachines("trio.db", "trio.web")

	h.must("stop", "-p", "trio")
	h.must("up", "-f", file, "web") // and what it depends on
	h.wantMachines("trio.db", "trio.web")
	h.wantFailure(2, []string{`"wbe"`, "db, web"}, "up", "-f", file, "wbe")
	h.wantFailure(2, []string{"--cpus"}, "up", "-f", file, "--cpus", "2")
	h.must("down", "-p", "trio")
	h.wantClean()
	h.must("down", "-p", "trio") // there is nothing left of it
}

// Issue D: one machine that never gets ready leaves the rest up: exit code 10, its
// console is shown, and a second up finishes the job.
func TestLabWithABrokenMachine(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.QEMUImg)
	h := newHost(t)
	disk := filepath.Join(h.root, "disk.raw")
	if err := os.WriteFile(disk, bootdisk.Image(1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	const text = "name: set\nnamespaces: {red: }\ndefaults: {image: probe, netns: red}\nmachines:\n" +
		"  good: {}\n  bad: {image: ./disk.raw, memory: 32M, ready: %s, ready_timeout: 15s}\n  other: {}\n  waiting: {depends_on: [bad]}\n"
	file := h.lab("set", fmt.Sprintf(text, "notify"))
	r := h.want(10, "up", "-f", file)
	for _, words := range []string{`"set.bad"`, "boot 1", `machine "set.waiting": not started`} {
		if !strings.Contains(r.stderr, words) {
			t.Errorf("up does not say %q: %s", words, r)
		}
	}
	for _, name := range []string{"set.good", "set.other"} {
		if m := h.inspect(name); !m.Ready {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if _, there := h.list()["set.waiting"]; there {
		t.Error("a machine was started that depends on the broken one")
	}
	h.lab("set", fmt.Sprintf(text, "none"))
	h.must("up", "-f", file)
	if m := h.inspect("set.waiting"); !m.Ready {
		t.Errorf("after a second up: %+v", m)
	}
	h.must("down", "-f", file, "--timeout", "1s") // it does not hear its power button
	h.wantClean()
}

// Issue D: one file of three machines, ten times: thirty machines, thirty right
// answers, and nothing is left.
func TestLabCopies(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	file := h.lab("class", "name: class\nnamespaces: {red: , blue: }\ndefaults: {image: probe, cid: 42}\n"+
		"machines: {a: {netns: red}, b: {netns: blue}, c: {netns: red, cid: 43}}\n")
	h.must("up", "-f", file, "--copies", "10")
	names := h.list()
	if len(names) != 30 {
		t.Errorf("%d machines, want 30", len(names))
	}
	answers := map[string]bool{}
	for _, line := range strings.Split(h.must("exec", "--all", "NAME"), "\n") {
		name, answer, _ := strings.Cut(line, "| ")
		name = strings.TrimSpace(name)
		answers[name] = true
		if answer != "OK "+name || !names[name].Ready {
			t.Errorf("%q answers %q, %+v", name, answer, names[name])
		}
	}
	if len(answers) != 30 {
		t.Errorf("%d answers, want 30", len(answers))
	}
	h.must("stop", "-p", "class-7")
	if m := h.list(); m["class-7.a"].State != "stopped" || m["class-8.a"].State != "running" {
		t.Errorf("stop of one copy: %+v, %+v", m["class-7.a"], m["class-8.a"])
	}
	h.must("down", "-f", file, "--copies", "10")
	h.wantClean()
}

// Issue D: kill -9 of up in the middle, then up: the same end. Then down: nothing.
func TestLabUpIsKilled(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	file := h.lab("pair", "name: pair\nnamespaces: {red: , blue: }\ndefaults: {image: probe, cid: 42}\n"+
		"machines: {a: {netns: red}, b: {netns: blue, depends_on: [a]}, c: {cid: 43, netns: red, depends_on: [a]}}\n")
	for _, step := range []string{"netns-create:pin", "qemu", "keep"} {
		h.env = []string{"VMLAUNCH_TEST_KILL_AT=" + step}
		if r := h.run("up", "-f", file); r.code != -int(syscall.SIGKILL) && r.code != -1 {
			t.Fatalf("%s: not killed: %s", step, r)
		}
		h.env = nil
		h.must("up", "-f", file)
		h.wantMachines("pair.a", "pair.b", "pair.c")
		h.must("down", "-f", file)
		h.wantClean()
	}
}

// Issue D: copies whose fixed CIDs can't all be had are refused before anything is
// made, with what stands in the way; so they are on a kernel without modes.
func TestLabCopiesThatClash(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	h := newHost(t)
	file := h.lab("clash", "name: clash\nnamespaces: {all: {vsock: global}}\nmachines: {a: {image: probe, netns: all, cid: 4242}}\n")
	code := 5
	if !testenv.Has(testenv.VsockModes) {
		code = 6
	}
	h.wantFailure(code, []string{"cid 4242 (clash-1.a, clash-2.a)"}, "up", "-f", file, "--copies", "2")
	h.wantClean()
	h.must("up", "-f", file)
	h.must("down", "-f", file)
	h.wantClean()
}

// A machine of a lab runs in the foreground, in the lab's namespace, as its unit has it;
// it is kept when it ends, and the lab's verbs know it.
func TestRunOfALabsMachine(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	file := h.lab("kept", `
name: kept
namespaces: {red: }
defaults: {image: probe, netns: red, cid: 42}
machines: {web: {restart: always}}
`)
	h.interrupt(func() bool { return h.list()["kept.web"].Ready }, "run", "--keep", "-f", file, "web")
	if m := h.list()["kept.web"]; m.State != "stopped" || m.CID != sameCID || m.Netns != "kept.red" {
		t.Errorf("after its end: %+v, want it stopped, with its place", m)
	}
	h.wantFailure(2, []string{"wed", "it has: web"}, "run", "--keep", "-f", file, "wed")
	h.must("up", "-f", file)
	h.wantName(probe, "kept.web")
	h.must("down", "-p", "kept")
	h.wantClean()
}
