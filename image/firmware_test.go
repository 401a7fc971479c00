package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// uefiDescriptor is one as distributions have it. Its files are in dir.
func uefiDescriptor(dir, name, features, mode string) string {
	return fmt.Sprintf(`{"description": "x", "interface-types": ["uefi"],
"mapping": {"device": "flash", %s "executable": {"filename": "%s/%s.fd", "format": "raw"},
            "nvram-template": {"filename": "%[2]s/vars.fd", "format": "qcow2"}},
"targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}, {"architecture": "aarch64", "machines": ["pc-i440fx-*"]}],
"features": [%[4]s], "tags": []}`, mode, dir, name, features)
}

// TestFindUEFI has descriptors in three folders, of which some are not for us.
func TestFindUEFI(t *testing.T) {
	top := filepath.Join(t.TempDir(), "[a]*")
	own, admin, distro := top+"/own", top+"/etc", top+"/usr"
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	find := func(board string) string {
		t.Helper()
		f, err := findUEFI([]string{own, admin, distro}, board)
		if f == (Firmware{}) {
			return fmt.Sprint(err)
		}
		if f.Vars != (FlashFile{top + "/vars.fd", configs.FormatQCOW2}) {
			t.Errorf("got %+v", f)
		}
		return strings.TrimSuffix(filepath.Base(f.Code.Path), ".fd")
	}
	if got := find(configs.BoardQ35); got != "<nil>" {
		t.Errorf("without descriptors: %s", got)
	}
	for _, name := range []string{"plain", "late", "mine", "vars"} {
		put(top+"/"+name+".fd", "x")
	}
	put(distro+"/10-enrolled.json", uefiDescriptor(top, "mine", `"enrolled-keys"`, ""))
	put(distro+"/20-smm.json", uefiDescriptor(top, "mine", `"acpi-s3", "requires-smm"`, ""))
	put(distro+"/30-gone.json", uefiDescriptor(top, "gone", "", ""))
	put(distro+"/40-stateless.json", uefiDescriptor(top, "mine", "", `"mode": "stateless",`))
	put(distro+"/50-bios.json", strings.Replace(uefiDescriptor(top, "mine", "", ""), `"uefi"`, `"bios"`, 1))
	put(distro+"/50-memory.json", strings.Replace(uefiDescriptor(top, "mine", "", ""), `"flash"`, `"memory"`, 1))
	put(distro+"/50-relative.json", uefiDescriptor("usr", "mine", "", ""))
	put(distro+"/55-broken.json", "{")
	put(distro+"/80-late.json", uefiDescriptor(top, "late", "", ""))
	put(distro+"/05-readme.txt", uefiDescriptor(top, "mine", "", ""))
	if got := find(configs.BoardQ35); got != "late" {
		t.Errorf("got %s, want the only one for us", got)
	}
	if got := find(configs.BoardPC); !strings.Contains(got, "55-broken.json: unexpected end of JSON input") {
		t.Errorf("got %s, want it told what can't be read", got)
	}
	put(distro+"/60-plain.json", uefiDescriptor(top, "plain", `"amd-sev"`, `"mode": "split",`))
	if got := find(configs.BoardQ35); got != "plain" {
		t.Errorf("got %s, want the first of two", got)
	}
	put(own+"/70-mine.json", uefiDescriptor(top, "mine", "", ""))
	if got := find(configs.BoardQ35); got != "plain" {
		t.Errorf("got %s, want the order of names before that of folders", got)
	}
	put(own+"/60-plain.json", uefiDescriptor(top, "mine", "", ""))
	put(admin+"/60-plain.json", uefiDescriptor(top, "late", "", ""))
	if got := find(configs.BoardQ35); got != "mine" {
		t.Errorf("got %s, want the user's own one of that name", got)
	}
	for _, mask := range []string{"/60-plain.json", "/70-mine.json"} {
		if err := os.Remove(own + mask); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/null", own+mask); err != nil {
			t.Fatal(err)
		}
	}
	if got := find(configs.BoardQ35); got != "late" {
		t.Errorf("got %s, want what is masked left out", got)
	}
}

func TestFindUEFIHere(t *testing.T) {
	testenv.Require(t, testenv.UEFI)
	for _, board := range []string{configs.BoardPC, configs.BoardQ35} {
		if f, err := FindUEFI(board); err != nil || !exists(f.Code.Path) {
			t.Errorf("%s: %+v, %v", board, f, err)
		}
	}
	if f, err := FindUEFI("none"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %+v, %v, want it missing", f, err)
	}
}

// FuzzDescriptor asks that what is taken of a descriptor are absolute paths and formats we know.
func FuzzDescriptor(f *testing.F) {
	f.Add([]byte(uefiDescriptor("/usr", "code", `"acpi-s3"`, "")))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parseDescriptor(text)
		if err != nil {
			return
		}
		for _, board := range []string{configs.BoardPC, configs.BoardQ35} {
			w, ok := d.uefi(board)
			if !ok && w != (Firmware{}) {
				t.Errorf("got %+v, which is not for us", w)
			}
			for _, file := range []FlashFile{w.Code, w.Vars} {
				if ok && (!filepath.IsAbs(file.Path) || file.Format != configs.FormatRaw && file.Format != configs.FormatQCOW2) {
					t.Errorf("got %+v", w)
				}
			}
		}
	})
}
