package forward

import (
	"context"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// benchVolume is sent each time, in bytes.
const benchVolume = 64 << 20

// BenchmarkBesideSocat carries bytes from a TCP connection to a Unix socket: by a relay
// that splices, by one that copies, and by socat, in turn, so that what else the
// machine does is shared fairly. It reports medians.
func BenchmarkBesideSocat(b *testing.B) {
	service := sink(b)
	ways := map[string]string{
		"splice": benchRelay(b, service, func(c Conn) Conn { return c }),
		"copy":   benchRelay(b, service, func(c Conn) Conn { return opaque{c} }),
		"socat":  benchSocat(b, service),
	}
	took := make(map[string][]time.Duration)
	for range b.N {
		for name, address := range ways {
			begin := time.Now()
			benchSend(b, address)
			took[name] = append(took[name], time.Since(begin))
		}
	}
	medians := make(map[string]float64)
	for name, all := range took {
		slices.Sort(all)
		medians[name] = all[len(all)/2].Seconds()
		b.ReportMetric(benchVolume/1e6/medians[name], name+"-MB/s")
	}
	b.ReportMetric(medians["socat"]/medians["splice"], "times-socat")
}

// sink is a service that reads everything, answers one byte, and ends.
func sink(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(plainWriter{io.Discard}, plainReader{c})
				_, _ = c.Write([]byte{1})
				_ = c.Close()
			}()
		}
	}()
	return path
}

// benchRelay returns where a relay to service listens.
func benchRelay(b *testing.B, service string, wrap func(Conn) Conn) string {
	b.Helper()
	relay := NewRelay(0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Listener: l, Relay: relay, Say: func(text string) { b.Log(text) }, Handle: relay.To(func(context.Context) (Conn, error) {
		c, err := net.Dial("unix", service)
		if err != nil {
			return nil, err
		}
		return wrap(c.(Conn)), nil
	})}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(ctx) }()
	b.Cleanup(func() { cancel(); <-served; _ = relay.Close() })
	return l.Addr().String()
}

// benchSocat returns where socat listens: it moves 64 KiB at once, as we do; its own
// default of 8 KiB is slower.
func benchSocat(b *testing.B, service string) string {
	b.Helper()
	program, err := exec.LookPath("socat")
	if err != nil {
		b.Skip(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	_ = l.Close()
	cmd := exec.Command(program, "-b65536", "TCP4-LISTEN:"+port+",reuseaddr,fork", "UNIX-CONNECT:"+service)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for {
		if c, err := net.Dial("tcp4", "127.0.0.1:"+port); err == nil { // it has come up
			_ = c.Close()
			return "127.0.0.1:" + port
		}
	}
}

// benchSend sends and waits until all has arrived.
func benchSend(b *testing.B, address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	c := conn.(Conn)
	defer c.Close()
	buf := make([]byte, 1<<20)
	for range benchVolume / len(buf) {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.CloseWrite()
	if _, err := io.ReadFull(c, buf[:1]); err != nil {
		b.Fatal(err)
	}
}
