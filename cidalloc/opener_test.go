package cidalloc

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vmlaunch/vmlaunch/vsock"
)

func TestGuestCIDs(t *testing.T) {
	tests := map[string]struct {
		args []string
		want []vsock.CID
	}{
		"none":          {[]string{"qemu", "-m", "42"}, nil},
		"comma list":    {[]string{"qemu", "-device", "vhost-vsock-pci,id=v,guest-cid=42,vhostfd=3"}, []vsock.CID{42}},
		"at the end":    {[]string{"vhost-vsock-pci,guest-cid=4294967294"}, []vsock.CID{vsock.LastGuest}},
		"json":          {[]string{`{"driver":"vhost-vsock-pci","guest-cid":42}`}, []vsock.CID{42}},
		"json, blanks":  {[]string{`{ "guest-cid" : "42" }`}, []vsock.CID{42}},
		"hex":           {[]string{"vhost-vsock-device,guest-cid=0x2a"}, []vsock.CID{42}},
		"two devices":   {[]string{"a,guest-cid=3", "b,guest-cid=4"}, []vsock.CID{3, 4}},
		"too big":       {[]string{"a,guest-cid=4294967338"}, nil},
		"not a number":  {[]string{"a,guest-cid=x42"}, nil},
		"other options": {[]string{"guest-cidr=42"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := guestCIDs(tt.args); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestShorten(t *testing.T) {
	if got := shorten([]string{"qemu", "-m", "1"}); got != "qemu -m 1" {
		t.Errorf("got %q", got)
	}
	got := shorten([]string{strings.Repeat("ä", maxCommand)})
	if len(got) > maxCommand+len("…") || !strings.HasSuffix(got, "…") || !utf8.ValidString(got) {
		t.Errorf("got %q (%d bytes)", got, len(got))
	}
}

func FuzzGuestCIDs(f *testing.F) {
	for _, s := range []string{
		"", "-device\x00vhost-vsock-pci,guest-cid=42,vhostfd=3", `{"driver":"vhost-vsock-pci","guest-cid":42}`, "guest-cid=0x2a",
		"guest-cid=4294967296", "guest-cid=guest-cid=7", `guest-cid":"007`, "guest-cid=0X", "guest-cid=09",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cids := guestCIDs(strings.Split(line, "\x00"))
		if n := strings.Count(line, "guest-cid"); len(cids) > n {
			t.Errorf("%d cids where %d are spoken of: %v", len(cids), n, cids)
		}
		// What stands by itself is found, whatever else the line has.
		with := guestCIDs(append(strings.Split(line, "\x00"), "vhost-vsock-pci,guest-cid=42"))
		if len(with) != len(cids)+1 || with[len(cids)] != 42 {
			t.Errorf("got %v, want %v and 42", with, cids)
		}
	})
}
