package command

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/store"
)

// diskFile makes a raw disk image at a path of all odd characters and returns the
// path and its digest.
func diskFile(t *testing.T) (path, digest string) {
	t.Helper()
	data := make([]byte, 1<<20)
	copy(data, t.Name())
	path = filepath.Join(t.TempDir(), "-a,b=c \"q'\nü.raw")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return path, hex.EncodeToString(sum[:])
}

// fakeBinary is an executable that stands for QEMU where none is started.
func fakeBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImagePull(t *testing.T) {
	root := t.TempDir()
	path, digest := diskFile(t)
	run := func(args ...string) outcome { return vmlaunchIn(t, root, nil, args...) }
	for _, c := range []struct {
		code Code
		want string
		args []string
	}{
		{Usage, "want one URL", []string{"image", "pull"}},
		{Usage, "want --sha256 too", []string{"image", "pull", path}},
		{Usage, "want 64 hex digits", []string{"image", "pull", path, "--sha256", "12", "--name", "base"}},
		{Usage, "image name", []string{"image", "pull", path, "--sha256", digest}}, // its own name will not do
		{Usage, "want http://", []string{"image", "pull", "ftp://images.example.org/x", "--sha256", digest}},
		{NotFound, `image "base"`, []string{"image", "pull", "base"}},
		{NotFound, "no such file", []string{"image", "pull", "/no/such", "--sha256", digest}},
		{Usage, digest, []string{"image", "pull", path, "--sha256", strings.Repeat("0", 64), "--name", "base"}},
		{NotFound, `image "base"`, []string{"up", "--dry-run", "--image", "base"}},
		{OK, "", []string{"image", "pull", path, "--sha256", digest, "--name", "base"}},
		{OK, "", []string{"image", "pull", path, "--sha256", digest, "--name", "base"}},
		{NotFound, `"other"`, []string{"image", "rm", "base", "other"}},
	} {
		if got := run(c.args...); got.code != c.code || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%q: exit code %d, %s; want %d, %s", c.args, got.code, got.stderr, c.code, c.want)
		}
	}
	if got := run("image", "ls", "-o", "template={{.kind}} {{.ref}}"); got.stdout != "disk base\n" {
		t.Errorf("image ls: %q", got.stdout)
	}
	want := filepath.Join(root, "cache/disk/base/disk")
	if got := run("up", "--dry-run", "--image", "base", "--accel", "tcg", "--qemu", fakeBinary(t)); got.code != OK || !strings.Contains(got.stdout, want) {
		t.Errorf("up: exit code %d, %s%s; want %s in it", got.code, got.stdout, got.stderr, want)
	}
	user := store.Machine{Name: "web", Spec: configs.Machine{Name: "web", Image: want}, Phase: store.Stopped}
	change := func(do func(*store.Tx) error) {
		if err := store.New(filepath.Join(root, "state")).Update(t.Context(), do); err != nil {
			t.Fatal(err)
		}
	}
	change(func(tx *store.Tx) error { return tx.PutMachine(user) })
	if got := run("image", "rm", "base"); got.code != Conflict || !strings.Contains(got.stderr, `machine "web"`) {
		t.Errorf("rm of an image in use: exit code %d, %s", got.code, got.stderr)
	}
	if got := run("rm", "web"); got.code != OK {
		t.Fatal(got.stderr)
	}
	if got := run("image", "rm", "base"); got.code != OK {
		t.Errorf("rm: exit code %d, %s", got.code, got.stderr)
	}
	if got := run("image", "ls"); strings.Contains(got.stdout, "base") {
		t.Errorf("image ls after rm: %s", got.stdout)
	}
}

func TestCatalogNames(t *testing.T) {
	root := t.TempDir()
	path, digest := diskFile(t)
	catalog := filepath.Join(root, "catalog.yaml")
	run := func(args ...string) outcome { return vmlaunchIn(t, root, nil, args...) }
	if err := os.WriteFile(catalog, []byte("images: {web-os: {urll: x}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run("image", "ls", "--catalog"); got.code != Usage || !strings.Contains(got.stderr, catalog+":1:19: unknown key \"urll\"") {
		t.Errorf("wrong catalog: exit code %d, %s", got.code, got.stderr)
	}
	text := fmt.Sprintf("images:\n  web-os: {url: %q, sha256: %s, memory: 2G, user: ada, ready: ssh}\n", path, digest)
	if err := os.WriteFile(catalog, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run("image", "ls", "--catalog", "-o", "template={{.name}} {{.pulled}} {{.memory_mib}}"); got.stdout != "web-os false 2048\n" {
		t.Errorf("before: %+v", got)
	}
	if got := run("up", "--dry-run", "--image", "web-os", "--memory", "1G"); got.code != Usage || !strings.Contains(got.stderr, "at least 2048M") {
		t.Errorf("too little memory: exit code %d, %s", got.code, got.stderr)
	}
	got := run("up", "--dry-run", "--image", "web-os", "--accel", "tcg", "--qemu", fakeBinary(t))
	for _, want := range []string{"/cache/disk/web-os/disk", "size=2048M", "ssh.ephemeral-authorized_keys-all"} {
		if got.code != OK || !strings.Contains(got.stdout, want) {
			t.Errorf("up: exit code %d, %s%s; want %s in it", got.code, got.stdout, got.stderr, want)
		}
	}
	if got := run("image", "ls", "--catalog"); !strings.Contains(got.stdout, "web-os  yes") {
		t.Errorf("after: %+v", got)
	}
	if got := run("image", "pull", "web-os", "--name", "x"); got.code != Usage {
		t.Errorf("another name for what has one: exit code %d, %s", got.code, got.stderr)
	}
}
