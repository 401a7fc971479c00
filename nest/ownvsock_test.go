package nest

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// message returns one of vhost-user as QEMU sends it.
func message(request uint32, body ...byte) []byte {
	m := binary.NativeEndian.AppendUint32(nil, request)
	m = binary.NativeEndian.AppendUint32(m, vhostVersion)
	m = binary.NativeEndian.AppendUint32(m, uint32(len(body)))
	return append(m, body...)
}

func dialBackend(t *testing.T, cid uint32) (*vsockBackend, *net.UnixConn) {
	t.Helper()
	b, end, err := newVsockBackend(cid)
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	c, err := net.FileConn(end)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return b, c.(*net.UnixConn)
}

// The device has the CID that was asked for; what comes with a request is not kept.
func TestVsockBackendGivesACID(t *testing.T) {
	b, c := dialBackend(t, 0x1234_5678)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const setVringKick = 12 // no answer
	if _, _, err := c.WriteMsgUnix(message(setVringKick, make([]byte, 8)...), unix.UnixRights(int(w.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	w.Close()
	config := make([]byte, vhostConfigAt+8)
	binary.NativeEndian.PutUint32(config[4:], 8)
	for _, q := range []struct {
		request uint32
		body    []byte
		want    string
	}{
		{vhostGetFeatures, nil, "\x00\x00\x00\x40\x01\x00\x00\x00"},
		{vhostGetProtocolFeatures, nil, "\x00\x02\x00\x00\x00\x00\x00\x00"},
		{vhostGetConfig, config, string(config[:vhostConfigAt]) + "\x78\x56\x34\x12\x00\x00\x00\x00"},
		{vhostGetVringBase, []byte("12345678"), "12345678"},
	} {
		if _, err := c.Write(message(q.request, q.body...)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, vhostHeader+len(q.want))
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		head := message(q.request, []byte(q.want)...)
		binary.NativeEndian.PutUint32(head[4:], vhostVersion|vhostReply)
		if string(got) != string(head) {
			t.Errorf("request %d: got %x, want %x", q.request, got, head)
		}
	}
	if n, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the descriptor that came with a request: read %d, %v, want it closed", n, err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("closed while QEMU lives: %v", err)
	}
}

func TestVsockBackendEnds(t *testing.T) {
	b, c := dialBackend(t, 77)
	c.Close()
	if err := b.Close(); err != nil {
		t.Errorf("after QEMU's end: %v", err)
	}
	b, c = dialBackend(t, 77)
	long := message(vhostGetConfig)
	binary.NativeEndian.PutUint32(long[8:], vhostLongest+1)
	if _, err := c.Write(long); err != nil {
		t.Fatal(err)
	}
	if err := <-b.done; err == nil || !strings.Contains(err.Error(), "4097 bytes") {
		t.Errorf("a message without end: %v, want it refused", err)
	}
}

// FuzzVhost asks that no request makes the back end fail other than by an error,
// whatever its length.
func FuzzVhost(f *testing.F) {
	f.Add(uint32(vhostGetConfig), []byte("short"))
	f.Add(uint32(vhostGetVringBase), []byte{})
	f.Fuzz(func(t *testing.T, request uint32, body []byte) {
		answer := answerVhost(request, body, 77)
		if request == vhostGetConfig && len(answer) != len(body) {
			t.Errorf("answer of %d bytes to a request of %d", len(answer), len(body))
		}
	})
}

// A nest that runs is not taken for one with a CID of its own.
func TestUpRefusesAnotherOwnCID(t *testing.T) {
	o := Options{RunDir: t.TempDir(), Kernel: "7.3", OwnCID: 77}
	me, err := proc.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(o.RunDir, o.Kernel)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (record{Kernel: "7.3.4", QEMU: me, OwnCID: 78, Ready: true}).write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), o); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "nest down") {
		t.Errorf("got %v, want a refusal with the way out", err)
	}
}
