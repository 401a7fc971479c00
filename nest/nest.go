package nest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// A Nest is a running nested host. It holds nothing open; the nested host runs
// on until [Nest.Down]. It is safe for concurrent use.
type Nest struct {
	dir    string
	record record
}

// Info describes a running nest.
type Info struct {
	Kernel    string    `json:"kernel"` // uname -r in it
	PID       int       `json:"pid"`    // of QEMU
	MemoryMiB int       `json:"memoryMiB"`
	CPUs      int       `json:"cpus"`
	Started   time.Time `json:"started"`
	Port      int       `json:"port"`    // of 127.0.0.1, leads to its SSH server
	Console   string    `json:"console"` // file with the kernel's messages
}

// Open returns the running nest of a kernel; "" is the first of [Kernels]. It
// fails with [fs.ErrNotExist] if it does not run.
func Open(runDir, kernel string) (*Nest, error) {
	o := Options{RunDir: runDir, Kernel: kernel}
	if err := o.fill(); err != nil {
		return nil, err
	}
	n := &Nest{dir: folder(runDir, o.Kernel)}
	var s state
	if n.record, s = look(n.dir, proc.ID.Alive); s != running {
		return nil, fmt.Errorf("nest %s: %w (start it with: vmlaunch nest up)", o.Kernel, fs.ErrNotExist)
	}
	return n, nil
}

// Down ends the nest of a kernel with all that runs in it, and removes what it
// and any broken attempt at it have left. None is fine. It fails with ctx's error
// while another command is busy with that nest, or if QEMU can't be ended.
func Down(ctx context.Context, runDir, kernel string) error {
	o := Options{RunDir: runDir, Kernel: kernel}
	if err := o.fill(); err != nil {
		return err
	}
	dir := folder(runDir, o.Kernel)
	if _, err := os.Stat(runDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := lock(ctx, runDir, o.Kernel)
	if err != nil {
		return err
	}
	defer unlock()
	r, _ := look(dir, proc.ID.Alive)
	if err := clear(ctx, dir, r); err != nil {
		return fmt.Errorf("end nest %s: %w", o.Kernel, err)
	}
	return nil
}

// List returns the running nests, by their names in runDir. It fails if runDir
// is there but can't be read.
func List(runDir string) ([]Info, error) {
	entries, err := os.ReadDir(runDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list nests: %w", err)
	}
	var all []Info
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), folderPrefix) {
			continue
		}
		dir := filepath.Join(runDir, e.Name())
		if r, s := look(dir, proc.ID.Alive); s == running {
			all = append(all, (&Nest{dir: dir, record: r}).Info())
		}
	}
	return all, nil
}

const folderPrefix = "nest-"

func folder(runDir, kernel string) string { return filepath.Join(runDir, folderPrefix+kernel) }

// lockPoll is how often a taken lock is asked for again.
const lockPoll = 100 * time.Millisecond

// lock keeps other calls of Up and Down for this nest waiting. The file lies
// beside the nest's folder, which comes and goes under it.
func lock(ctx context.Context, runDir, kernel string) (unlock func(), err error) {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(runDir, ".nest-"+kernel+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock nest %s: %w", kernel, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another command to finish with nest %s: %w", kernel, ctx.Err())
		case <-tick.C:
		}
	}
}

// Info describes the nest.
func (n *Nest) Info() Info {
	r := n.record
	return Info{
		Kernel: r.Kernel, PID: r.QEMU.PID, MemoryMiB: r.MemoryMiB, CPUs: r.CPUs, Started: r.Started,
		Port: r.Port, Console: filepath.Join(n.dir, consoleFile),
	}
}

// Down ends the nest. It fails as the function [Down] does.
func (n *Nest) Down(ctx context.Context) error {
	runDir, name := filepath.Split(n.dir)
	return Down(ctx, runDir, strings.TrimPrefix(name, folderPrefix))
}

// connect opens an SSH connection to the agent. The caller closes it.
func (n *Nest) connect(ctx context.Context) (*guest.Client, error) {
	conn, err := n.dialPort(ctx)
	if err != nil {
		return nil, err
	}
	return n.handshake(ctx, conn)
}

// dialPort connects to the port that QEMU forwards to the agent. It says
// nothing about the agent.
func (n *Nest) dialPort(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(n.record.Port)))
}

// handshake makes an SSH connection of conn and takes it over.
func (n *Nest) handshake(ctx context.Context, conn net.Conn) (*guest.Client, error) {
	key, err := guest.ParsePublic(n.record.Keys.HostPub)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return guest.NewClient(ctx, conn, guest.Key{Private: n.record.Keys.Client, Host: key})
}

// dialTime bounds one connection to a nest that is up. A handshake costs the
// emulated CPU about half a second, more when guests keep it busy.
const dialTime = 60 * time.Second

// Run runs a command in the nest and returns its exit code. It fails as
// [guest.Client.Run] does, and if the nest can't be reached.
func (n *Nest) Run(ctx context.Context, cmd guest.Command) (exit int, err error) {
	c, err := n.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Run(ctx, cmd)
}

func (n *Nest) dial(ctx context.Context) (*guest.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := n.connect(ctx)
	if err != nil && !n.record.QEMU.Alive() {
		return nil, newBootError(n.dir, errors.New("the nest has ended"))
	}
	if err != nil {
		return nil, fmt.Errorf("reach nest %s: %w", n.record.Kernel, err)
	}
	return c, nil
}

// Put copies a file of this machine into the nest, with its permissions. It is
// complete under its name or not there. It fails if the nest can't write it.
func (n *Nest) Put(ctx context.Context, local, remote string) error {
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	tmp := remote + ".vmlaunch-new"
	script := `mkdir -p "$1" && cat > "$2" && chmod "$3" "$2" && mv "$2" "$4" || { rm -f "$2"; exit 1; }`
	var words tailWriter
	exit, err := n.Run(ctx, guest.Command{
		Args:   []string{"sh", "-c", script, "put", path.Dir(remote), tmp, strconv.FormatUint(uint64(st.Mode().Perm()), 8), remote},
		Stdin:  f,
		Stderr: &words,
	})
	if err == nil && exit != 0 {
		err = fmt.Errorf("exit code %d: %s", exit, words.String())
	}
	if err != nil {
		return fmt.Errorf("put %s in nest as %s: %w", local, remote, err)
	}
	return nil
}

// update puts Options.Binary in the nest if it has another one.
func (n *Nest) update(ctx context.Context, o Options) error {
	sum, err := binaryDigest(o.Binary)
	if err != nil || sum == "" || sum == n.record.Binary {
		return err
	}
	o.progress("updating vmlaunch in the nest")
	if err := n.Put(ctx, o.Binary, binaryInside); err != nil {
		return err
	}
	n.record.Binary = sum
	return n.record.write(n.dir)
}

// binaryDigest returns the digest of the program at path, "" for none.
func binaryDigest(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return image.DigestFiles(image.Library{Path: binaryInside, From: path})
}

// Files copies several files into the nest's folder dir under their own names.
// It fails with the first that [Nest.Put] can't copy; those before it stay.
func (n *Nest) Files(ctx context.Context, dir string, local ...string) error {
	for _, l := range local {
		if err := n.Put(ctx, l, path.Join(dir, filepath.Base(l))); err != nil {
			return err
		}
	}
	return nil
}
