package nest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// vsockFD is the descriptor under which QEMU finds the back end of the nest's own
// vsock device: the one after [monitorFD].
const vsockFD = 4

// vsockModule drives the nest's own vsock device.
const vsockModule = "vmw_vsock_virtio_transport"

// Requests and flags of vhost-user that need an answer or have a meaning here; see
// docs/interop/vhost-user.rst of QEMU.
const (
	vhostGetFeatures         = 1
	vhostGetVringBase        = 11
	vhostGetProtocolFeatures = 15
	vhostGetConfig           = 24

	vhostVersion = 1      // in the flags of every message
	vhostReply   = 1 << 2 // and of an answer

	vhostFeatures         = 1<<32 | 1<<30 // VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES
	vhostProtocolFeatures = 1 << 9        // VHOST_USER_PROTOCOL_F_CONFIG

	vhostHeader    = 12      // request, flags, size of what follows
	vhostLongest   = 4 << 10 // no request is as long
	vhostConfigAt  = 12      // offset, size and flags before the bytes of the configuration
	vhostMostFiles = 8       // descriptors with one message
)

// A vsockBackend is the host's side of a vsock device that QEMU has for the nest. It
// gives the device a CID and moves no packet: nobody is at its other end. So the nest
// is a guest with a CID of its own, as a virtual machine of a cloud is, on a host that
// need not have vhost_vsock.
//
// It is wanted while the nest boots; later QEMU does without.
type vsockBackend struct {
	conn *net.UnixConn
	done chan error
}

// newVsockBackend serves a device with a CID and returns its end for QEMU, which the
// caller closes as it closes the back end.
func newVsockBackend(cid uint32) (*vsockBackend, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("own vsock: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "vsock"), os.NewFile(uintptr(fds[1]), "vsock of qemu")
	defer ours.Close() // FileConn has its own copy
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("own vsock: %w", err), theirs.Close())
	}
	b := &vsockBackend{conn: conn.(*net.UnixConn), done: make(chan error, 1)}
	go func() { b.done <- serveVhost(b.conn, cid) }()
	return b, theirs, nil
}

// Close ends the back end, and fails with what went wrong while it served.
func (b *vsockBackend) Close() error {
	closed := b.conn.Close()
	if err := <-b.done; err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("own vsock: %w", err)
	}
	return closed
}

// serveVhost answers requests until conn ends.
func serveVhost(conn *net.UnixConn, cid uint32) error {
	for {
		request, body, err := readVhost(conn)
		if err != nil {
			return err
		}
		answer := answerVhost(request, body, cid)
		if answer == nil {
			continue
		}
		message := binary.NativeEndian.AppendUint32(nil, request)
		message = binary.NativeEndian.AppendUint32(message, vhostVersion|vhostReply)
		message = binary.NativeEndian.AppendUint32(message, uint32(len(answer)))
		if _, err := conn.Write(append(message, answer...)); err != nil {
			return err
		}
	}
}

// readVhost reads one message and closes the descriptors that come with it: of
// queues that nobody looks at, and of memory that nobody maps.
func readVhost(conn *net.UnixConn) (request uint32, body []byte, err error) {
	head := make([]byte, vhostHeader)
	oob := make([]byte, unix.CmsgSpace(4*vhostMostFiles))
	n, oobn, _, _, err := conn.ReadMsgUnix(head, oob)
	if err != nil {
		return 0, nil, err
	}
	if err := closeRights(oob[:oobn]); err != nil {
		return 0, nil, err
	}
	if n == 0 {
		return 0, nil, io.EOF
	}
	if _, err := io.ReadFull(conn, head[n:]); err != nil {
		return 0, nil, err
	}
	size := binary.NativeEndian.Uint32(head[8:])
	if size > vhostLongest {
		return 0, nil, fmt.Errorf("vhost-user message of %d bytes: want at most %d", size, vhostLongest)
	}
	body = make([]byte, size)
	_, err = io.ReadFull(conn, body)
	return binary.NativeEndian.Uint32(head), body, err
}

func closeRights(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return err
		}
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// answerVhost returns the answer to a request, nil for one that has none. It is a
// pure function.
func answerVhost(request uint32, body []byte, cid uint32) []byte {
	switch request {
	case vhostGetFeatures:
		return binary.NativeEndian.AppendUint64(nil, vhostFeatures)
	case vhostGetProtocolFeatures:
		return binary.NativeEndian.AppendUint64(nil, vhostProtocolFeatures)
	case vhostGetVringBase:
		return body // where the queue was when it began: nothing was taken from it
	case vhostGetConfig:
		answer := append([]byte(nil), body...)
		if len(answer) >= vhostConfigAt+8 { // struct virtio_vsock_config: guest_cid, little-endian
			binary.LittleEndian.PutUint64(answer[vhostConfigAt:], uint64(cid))
		}
		return answer
	}
	return nil
}

// A runsOtherwiseError says that a nest runs without the CID of its own that is asked
// for. It is an [fs.ErrExist].
type runsOtherwiseError struct {
	kernel string
	cid    uint32
}

func (e *runsOtherwiseError) Error() string {
	return fmt.Sprintf("bring up nest %s with cid %d of its own: it runs without (end it first: vmlaunch nest down)", e.kernel, e.cid)
}

func (e *runsOtherwiseError) Is(target error) bool { return target == fs.ErrExist }
