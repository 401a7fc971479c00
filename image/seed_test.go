package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kdomanski/iso9660"
)

// readISO reads an image with a reader of another make.
func readISO(t *testing.T, image []byte) (label string, files map[string]string) {
	t.Helper()
	img, err := iso9660.OpenImage(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	root, err := img.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	children, err := root.GetChildren()
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for _, c := range children {
		text, err := io.ReadAll(c.Reader())
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(c.Name(), ";1")] = string(text)
	}
	if label, err = img.Label(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(label, " \x00"), files
}

func TestSeed(t *testing.T) {
	s := Seed{
		InstanceID: "11111111-2222-4333-8444-555555555555", Hostname: "web", User: "ada", SSHKeys: []string{"ssh-ed25519 AAAA one", "ssh-ed25519 AAAA two"},
		HostKey: []byte("-----BEGIN\nkey\n"), HostPub: "ssh-ed25519 BBBB",
		UserData: []byte("#!/bin/sh\necho \x00\xff\n"), NetworkConfig: bytes.Repeat([]byte("x"), 3*isoSector),
	}
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	label, files := readISO(t, b.Bytes())
	if label != "cidata" || len(files) != 4 {
		t.Errorf("label %q, %d files, want cidata and 4", label, len(files))
	}
	if files["user-data"] != string(s.UserData) || files["network-config"] != string(s.NetworkConfig) {
		t.Error("the user's own files are not as they were")
	}
	var meta map[string]any
	if err := json.Unmarshal([]byte(files["meta-data"]), &meta); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"instance-id": s.InstanceID, "local-hostname": "web", "public-keys": []any{s.SSHKeys[0], s.SSHKeys[1]}}
	if d := cmp.Diff(want, meta); d != "" {
		t.Errorf("meta-data (-want +got):\n%s", d)
	}
	text, ok := strings.CutPrefix(files["vendor-data"], cloudConfig)
	var vendor struct {
		Users   []any             `json:"users"`
		Keys    map[string]string `json:"ssh_keys"`
		NoRoot  *bool             `json:"disable_root"`
		Unknown map[string]any    `json:"-"`
	}
	if err := json.Unmarshal([]byte(text), &vendor); !ok || err != nil {
		t.Fatalf("vendor-data %q: %v", files["vendor-data"], err)
	}
	if len(vendor.Users) != 2 || vendor.Keys["ed25519_private"] != string(s.HostKey) || vendor.Keys["ed25519_public"] != s.HostPub || vendor.NoRoot == nil || *vendor.NoRoot {
		t.Errorf("vendor-data: %s", text)
	}
}

// TestSeedOfNothing is for a user who says nothing: cloud-init wants user data.
func TestSeedOfNothing(t *testing.T) {
	var b bytes.Buffer
	if err := (Seed{User: "root"}).Write(&b); err != nil {
		t.Fatal(err)
	}
	_, files := readISO(t, b.Bytes())
	if files["user-data"] != "#cloud-config\n{}\n" || len(files) != 3 {
		t.Errorf("got %q, want empty user data and no network-config", files)
	}
	if strings.Contains(files["vendor-data"], `"name"`) {
		t.Errorf("vendor-data makes a user: %s", files["vendor-data"])
	}
}

func TestISO(t *testing.T) {
	var many []isoFile
	for range 100 {
		many = append(many, isoFile{"a-rather-long-name", nil})
	}
	if err := writeISO(io.Discard, "x", many); err == nil {
		t.Error("a folder larger than its sector was written")
	}
	failing := errors.New("disk full")
	if err := writeISO(failWriter{failing}, "x", nil); !errors.Is(err, failing) {
		t.Errorf("got %v, want the writer's error", err)
	}
	var b bytes.Buffer
	sizes := []int{0, 1, isoSector - 1, isoSector, isoSector + 1}
	var files []isoFile
	for i, n := range sizes {
		files = append(files, isoFile{strings.Repeat("f", i+1), bytes.Repeat([]byte{byte(i + 1)}, n)})
	}
	if err := writeISO(&b, "x", files); err != nil {
		t.Fatal(err)
	}
	_, got := readISO(t, b.Bytes())
	for _, f := range files {
		if got[f.name] != string(f.data) {
			t.Errorf("%s: got %d bytes, want %d", f.name, len(got[f.name]), len(f.data))
		}
	}
	if b.Len()%isoSector != 0 {
		t.Errorf("%d bytes are no whole sectors", b.Len())
	}
}

type failWriter struct{ err error }

func (w failWriter) Write([]byte) (int, error) { return 0, w.err }
