package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// askWait bounds the answer of a container runtime: podman has it in a tenth of a
// second, docker's daemon may be stuck for ever.
const askWait = 10 * time.Second

// containerPrefix begins a reference to the namespace that a container is in.
const containerPrefix = "container:"

// containerName is what podman, docker and nerdctl take, and ids are of it too.
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

// runtimes are the programs that are asked about containers, in this order. They
// share the question, and the form of the answer.
func runtimes() []string { return []string{"podman", "docker", "nerdctl"} }

// A container is one that a reference names.
type container struct {
	runtime string // "" for any
	name    string
}

// parseContainer reads container:NAME and container:RUNTIME/NAME. It fails with
// [ErrBadName].
func parseContainer(ref string) (container, error) {
	var c container
	rest, ok := strings.CutPrefix(ref, containerPrefix)
	c.name = rest
	if runtime, name, forced := strings.Cut(rest, "/"); forced {
		c.runtime, c.name = runtime, name
		ok = ok && slices.Contains(runtimes(), runtime)
	}
	if !ok || !containerName.MatchString(c.name) {
		return container{}, fmt.Errorf("netns %q: %w (want %sNAME, or %sRUNTIME/NAME with one of %s)", ref, ErrBadName,
			containerPrefix, containerPrefix, strings.Join(runtimes(), ", "))
	}
	return c, nil
}

// pid asks the runtimes of this host, or the one that is named, for the process of
// the container. It fails with [fs.ErrNotExist] if none has it running, and with
// [errors.ErrUnsupported] if none can be asked.
func (c container) pid() (int, error) {
	var said []string
	kind, want := errors.ErrUnsupported, runtimes()
	if c.runtime != "" {
		want = []string{c.runtime}
	}
	for _, r := range want {
		path, err := exec.LookPath(r)
		if err != nil {
			continue
		}
		pid, err := askRuntime(path, c.name)
		switch {
		case err == nil && pid > 0:
			return pid, nil
		case err == nil:
			said, kind = append(said, r+": it is not running"), fs.ErrNotExist
		case errors.Is(err, errAbsent):
			said, kind = append(said, r+": no such container"), fs.ErrNotExist
		default:
			said = append(said, r+": "+err.Error())
		}
	}
	if len(said) == 0 {
		return 0, answer{"nobody to ask about containers, needs " + strings.Join(want, " or "), kind}
	}
	return 0, answer{"no container of that name runs (" + strings.Join(said, "; ") + ")", kind}
}

// askRuntime asks the runtime at path for the process of a container, 0 for one
// that does not run. It fails with errAbsent if it does not know the container.
func askRuntime(path, name string) (pid int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "container", "inspect", "--format", "{{.State.Pid}}", "--", name)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second // a child of it may keep its output open
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return 0, fmt.Errorf("no answer after %s: %w", askWait, err)
		}
		return 0, readRefusal(said.String(), err)
	}
	return readPID(out.String())
}

// readPID reads what a runtime says about the process of a container.
func readPID(answer string) (int, error) {
	pid, err := strconv.ParseInt(strings.TrimSpace(answer), 10, 32)
	if err != nil || pid < 0 {
		return 0, fmt.Errorf("answer %q: want a process id", firstLine(answer))
	}
	return int(pid), nil
}

// readRefusal gives what a runtime says when it fails its meaning. The texts are
// those of podman 4, docker 24 and nerdctl 2.
func readRefusal(said string, failed error) error {
	for _, text := range []string{"no such container", "no such object", "no container with name or id"} {
		if strings.Contains(strings.ToLower(said), text) {
			return errAbsent
		}
	}
	if line := firstLine(said); line != "" {
		return fmt.Errorf("%s: %w", line, failed)
	}
	return failed
}

// firstLine returns the first line of what a program said, without what a
// terminal would obey.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, line), "?")
}
