package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

func TestFolders(t *testing.T) {
	got := folders([]agentconfig.Mount{
		{Tag: "mount0", Type: agentconfig.Virtiofs, Target: "/a b"}, {Tag: "mount1", Type: agentconfig.NineP, Target: "/c", ReadOnly: true},
	})
	want := []mount{
		{source: "mount0", fstype: "virtiofs", target: "/a b", needed: true},
		{source: "mount1", fstype: "9p", target: "/c", flags: unix.MS_RDONLY, data: "trans=virtio,version=9p2000.L", needed: true},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestFolderThatCannotBeMounted asks for an error that names it, where the file
// systems that a system has anyway are passed over.
func TestFolderThatCannotBeMounted(t *testing.T) {
	testenv.Require(t, testenv.Root)
	table := folders([]agentconfig.Mount{{Tag: "mount0", Type: "nosuchfs", Target: t.TempDir() + "/a b"}})
	err := mountAll(console{t.Output()}, table)
	if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "mount mount0 on "+table[0].target) {
		t.Errorf("got %v, want what can't be mounted", err)
	}
	table[0].needed = false
	if err := mountAll(console{t.Output()}, table); err != nil {
		t.Errorf("not needed: got %v", err)
	}
}
