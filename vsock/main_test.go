package vsock_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// childCID in the environment makes this test binary hold that CID until its
// standard input ends, or until it is killed.
const childCID = "VMLAUNCH_TEST_HOLD_CID"

func TestMain(m *testing.M) {
	if text := os.Getenv(childCID); text != "" {
		os.Exit(holdUntilEOF(text))
	}
	before, routines := descriptors(), runtime.NumGoroutine()
	code := m.Run()
	if left := goroutinesOver(routines); left > 0 {
		fmt.Fprintf(os.Stderr, "leaked %d goroutines\n", left)
		code = 1
	}
	for _, d := range descriptors() {
		if !slices.Contains(before, d) {
			fmt.Fprintf(os.Stderr, "leaked descriptor: %s\n", d)
			code = 1
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

func holdUntilEOF(text string) int {
	c, err := vsock.ParseCID(text)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	g, err := vsock.Hold(c)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer g.Close()
	fmt.Println("held")
	var b [1]byte
	_, _ = os.Stdin.Read(b[:])
	return 0
}
