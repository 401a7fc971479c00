package netns_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// role in the environment makes this test binary play a part in a test, told as
// WORD [ARGUMENT...], instead of running tests.
const role = "VMLAUNCH_TEST_ROLE"

func TestMain(m *testing.M) {
	if part := os.Getenv(role); part != "" {
		os.Exit(play(strings.Fields(part)))
	}
	fds, names, routines := descriptors(), pinned(), runtime.NumGoroutine()
	code := m.Run()
	if left := goroutinesOver(routines); left > 0 {
		fmt.Fprintf(os.Stderr, "leaked %d goroutines\n", left)
		code = 1
	}
	for _, leak := range []struct {
		what          string
		before, after []string
	}{
		{"descriptor", fds, descriptors()},
		{"name", names, pinned()},
		{"thread abroad", nil, threadsAbroad()},
	} {
		for _, s := range leak.after {
			if !slices.Contains(leak.before, s) {
				fmt.Fprintf(os.Stderr, "leaked %s: %s\n", leak.what, s)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// descriptors lists what is open, without the runtime's own.
func descriptors() []string {
	var open []string
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") || strings.HasPrefix(target, "anon_inode:[pidfd") {
			continue
		}
		open = append(open, filepath.Base(link)+" "+target)
	}
	return open
}

// goroutinesOver returns how many goroutines there are more than want, once
// those that are about to end have had the time to. A fuzzing run keeps one for
// its signals.
func goroutinesOver(want int) int {
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		return 0
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if over := runtime.NumGoroutine() - want; over <= 0 || time.Now().After(end) {
			return over
		}
	}
}

// pinned lists the files of /run/netns that tests of this package make, whatever
// they are. Tests of other packages run at the same time and make others.
func pinned() []string {
	names, _ := filepath.Glob("/run/netns/t-*")
	return names
}

// threadsAbroad lists the threads of this process that are not where its main
// thread is. A thread that is to die needs a moment for it.
func threadsAbroad() []string {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		var abroad []string
		home, _ := os.Readlink("/proc/self/ns/net")
		links, _ := filepath.Glob("/proc/self/task/*/ns/net")
		for _, link := range links {
			if there, err := os.Readlink(link); err == nil && there != home {
				abroad = append(abroad, link+" "+there)
			}
		}
		if len(abroad) == 0 || time.Now().After(end) {
			return abroad
		}
	}
}

// play runs a part and returns the exit code: 0 with the answer on standard
// output, or 1 with the error.
func play(part []string) int {
	parts := map[string]func(...string) (string, error){
		"where":    playWhere,
		"own":      playOwn,
		"create":   playCreate,
		"race":     playRace,
		"private":  playPrivate,
		"fault":    playFault,
		"stay":     playStay,
		"rootless": playRootless,
		"main":     playMain,
		"fresh":    playFresh,
	}
	answer, err := parts[part[0]](part[1:]...)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(answer)
	return 0
}

// playWhere tells the namespace of the process.
func playWhere(...string) (string, error) { return os.Readlink("/proc/self/ns/net") }

// playOwn tells how the process calls the namespace it was started in.
func playOwn(...string) (string, error) {
	n, err := netns.Open("")
	if err != nil {
		return "", err
	}
	defer n.Close()
	m, err := n.Mode()
	return fmt.Sprintf("%q %v %v", n.Ref(), n.ID(), m), err
}

// playCreate makes a namespace and tells its mode.
func playCreate(arg ...string) (string, error) {
	m, err := vsock.ParseMode(arg[1])
	if err != nil {
		return "", err
	}
	n, err := netns.Create(arg[0], m)
	if err != nil {
		return "", err
	}
	defer n.Close()
	got, err := n.Mode()
	return got.String(), err
}

// playRace is playCreate once standard input has ended.
func playRace(arg ...string) (string, error) {
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return "", err
	}
	return playCreate(arg...)
}

// playStay does nothing until standard input ends.
func playStay(...string) (string, error) {
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return "", err
}

// actor makes a process that plays a part.
func actor(part string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+part)
	return cmd
}

// asks plays a part to its end and returns the answer.
func asks(t *testing.T, cmd *exec.Cmd) (answer string, err error) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// A stander is a process that plays a part up to "ready" and waits there.
type stander struct {
	*exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

// start starts a part that says "ready" first. The test ends it.
func start(t *testing.T, cmd *exec.Cmd) *stander {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &stander{cmd, stdin, bufio.NewReader(stdout)}
	t.Cleanup(func() { s.end(t) })
	if said, err := s.out.ReadString('\n'); err != nil || said != "ready\n" {
		rest, _ := s.out.Peek(s.out.Buffered())
		t.Fatalf("%v: got %q %q, %v; want ready", cmd, said, rest, err)
	}
	return s
}

// end lets the part go on to its end, and returns its answer. Ending twice is
// fine.
func (s *stander) end(t *testing.T) (answer string, err error) {
	t.Helper()
	if s.ProcessState != nil {
		return "", nil
	}
	_ = s.stdin.Close()
	out, rerr := io.ReadAll(s.out)
	if rerr != nil {
		t.Error(rerr)
	}
	return strings.TrimSpace(string(out)), s.Wait()
}

// inodeOf tells apart namespaces that exist now.
func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}
