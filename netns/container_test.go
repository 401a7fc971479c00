package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"
)

func TestParseContainer(t *testing.T) {
	for ref, want := range map[string]container{
		"container:web": {"", "web"}, "container:Web_1.a-b": {"", "Web_1.a-b"}, "container:podman/web": {"podman", "web"},
		"container:nerdctl/0123456789ab": {"nerdctl", "0123456789ab"},
	} {
		if got, err := parseContainer(ref); got != want || err != nil {
			t.Errorf("%q: got %+v, %v, want %+v", ref, got, err, want)
		}
	}
	for _, ref := range []string{
		"container:", "container:-a", "container:a b", "container:a/b", "container:podman/", "container:podman/-a", "container:podman/a/b",
		"container:a\n", "container:../a", "container:{{.Id}}", "container:" + strings.Repeat("x", 129), "web",
	} {
		if got, err := parseContainer(ref); !errors.Is(err, ErrBadName) || got != (container{}) {
			t.Errorf("%q: got %+v, %v, want an ErrBadName", ref, got, err)
		}
	}
}

// FuzzParseContainer asks that no name becomes an option, or more than one word, for
// a runtime.
func FuzzParseContainer(f *testing.F) {
	f.Add("container:podman/web")
	f.Fuzz(func(t *testing.T, ref string) {
		c, err := parseContainer(ref)
		if err != nil {
			if !errors.Is(err, ErrBadName) {
				t.Errorf("%q: got %v", ref, err)
			}
			return
		}
		if c.name == "" || strings.HasPrefix(c.name, "-") || strings.ContainsAny(c.name, " /\x00\n{}") || !strings.HasSuffix(ref, c.name) {
			t.Errorf("%q: read as %+v", ref, c)
		}
	})
}

// FuzzReadPID reads what a program in PATH answered as it liked.
func FuzzReadPID(f *testing.F) {
	f.Add("4711\n")
	f.Fuzz(func(t *testing.T, answer string) {
		pid, err := readPID(answer)
		if err == nil && (pid < 0 || fmt.Sprint(pid) != strings.TrimLeft(strings.TrimSpace(answer), "+0") && pid != 0) {
			t.Errorf("%q: read as %d", answer, pid)
		}
		for _, err := range []error{err, readRefusal(answer, errors.New("exit status 1"))} {
			if err != nil && strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("%q: %q has a control character", answer, err)
			}
		}
	})
}

// installRuntime puts a double of a container runtime into the only folder in PATH.
func installRuntime(t *testing.T, name, script string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	syscall.ForkLock.RLock() // a child born now would keep the script open: ETXTBSY
	err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	if old := os.Getenv("PATH"); strings.HasPrefix(old, os.TempDir()) {
		dir += ":" + old
	}
	t.Setenv("PATH", dir)
}

const noPodman = `echo 'Error: no such container "web"' >&2; exit 125`

// TestOpenContainer opens the namespace of a container, which is this process's own.
func TestOpenContainer(t *testing.T) {
	installRuntime(t, "podman", noPodman)
	installRuntime(t, "docker", fmt.Sprintf(`[ "$*" = "container inspect --format {{.State.Pid}} -- web" ] || exit 9; echo %d`, os.Getpid()))
	own, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for _, ref := range []string{"container:web", "container:docker/web"} {
		ns, err := Open(ref)
		if err != nil {
			t.Fatal(err)
		}
		if ns.ID() != own.ID() || ns.Ref() != ref {
			t.Errorf("%s: got %v called %q, want %v", ref, ns.ID(), ns.Ref(), own.ID())
		}
		ns.Close()
	}
	if _, err := Open("container:podman/web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of podman only: got %v, want fs.ErrNotExist", err)
	}
	if err := Remove("container:web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("remove: got %v, want fs.ErrNotExist: it is not ours", err)
	}
}

func TestOpenContainerFails(t *testing.T) {
	const daemon = `echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2; exit 1`
	for name, c := range map[string]struct {
		runtimes map[string]string
		kind     error
		want     string
	}{
		"no runtime":     {nil, errors.ErrUnsupported, "needs podman or docker or nerdctl"},
		"unknown":        {map[string]string{"podman": noPodman, "nerdctl": `echo "no such container: web" >&2; exit 1`}, fs.ErrNotExist, "(podman: no such container; nerdctl: no such container)"},
		"stopped":        {map[string]string{"podman": "echo 0"}, fs.ErrNotExist, "podman: it is not running"},
		"no daemon":      {map[string]string{"docker": daemon}, errors.ErrUnsupported, "Is the docker daemon running?"},
		"one of two":     {map[string]string{"podman": noPodman, "docker": daemon}, fs.ErrNotExist, "podman: no such container; docker: Cannot connect"},
		"garbage":        {map[string]string{"podman": `printf '<html>\033[1m\n'`}, errors.ErrUnsupported, `answer "<html>[1m": want a process id`},
		"gone meanwhile": {map[string]string{"podman": "echo 2147483647"}, fs.ErrNotExist, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			for runtime, script := range c.runtimes {
				installRuntime(t, runtime, script)
			}
			ns, err := Open("container:web")
			if err == nil {
				ns.Close()
			}
			if !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.want) || !strings.Contains(fmt.Sprint(err), `netns "container:web"`) {
				t.Errorf("got %v, want it to tell of %q", err, c.want)
			}
		})
	}
}
