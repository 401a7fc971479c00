package agentconfig

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzParseAddress asks that what is accepted is read back from its own form,
// and has a port that can be listened on.
func FuzzParseAddress(f *testing.F) {
	f.Add("tcp:[::1]:22")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			if !errors.Is(err, ErrBadAddress) || a != (Address{}) {
				t.Errorf("%q: got %+v, %v, want an ErrBadAddress and nothing", s, a, err)
			}
			return
		}
		if a.Port == 1<<32-1 || a.Network == "tcp" && a.Port >= 1<<16 {
			t.Errorf("%q: port %d", s, a.Port)
		}
		if again, err := ParseAddress(a.String()); again != a || err != nil {
			t.Errorf("%q: %q is read as %+v, %v, want %+v", s, a, again, err, a)
		}
	})
}

func FuzzParseNotify(f *testing.F) {
	f.Add("vsock-stream:2:50000")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseNotify(s)
		if err != nil {
			if !errors.Is(err, ErrBadAddress) || n != (Notify{}) {
				t.Errorf("%q: got %+v, %v, want an ErrBadAddress and nothing", s, n, err)
			}
			return
		}
		if again, err := ParseNotify(n.String()); again != n || err != nil || n.Port == 1<<32-1 {
			t.Errorf("%q: %q is read as %+v, %v, want %+v", s, n, again, err, n)
		}
	})
}

// FuzzRead asks that what the agent accepts is what the host could have written.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if err := valid().Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Read(bytes.NewReader(text))
		if err != nil {
			if c.Role != "" || c.HostKey != "" {
				t.Errorf("%q: got %+v with %v", text, c, err)
			}
			return
		}
		var first, second bytes.Buffer
		if err := c.Write(&first); err != nil {
			t.Fatalf("%+v was read but can't be written: %v", c, err)
		}
		again, err := Read(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatalf("%s: %v", &first, err)
		}
		if err := again.Write(&second); err != nil || first.String() != second.String() {
			t.Errorf("written twice it differs: %v\n%s%s", err, &first, &second)
		}
	})
}
