package qmp_test

import (
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/qmp"
	"github.com/vmlaunch/vmlaunch/qmp/qmptest"
)

// BenchmarkFakeQEMU measures this package more than its peer.
func BenchmarkFakeQEMU(b *testing.B) { benchmark(b, fake(b, fakeqemu.Behaviour{})(b)) }

func BenchmarkRealQEMU(b *testing.B) {
	testenv.Require(b, testenv.QEMU)
	benchmark(b, qmptest.Command("qemu-system-x86_64")(b))
}

func benchmark(b *testing.B, p *qmptest.Peer) {
	open := func(b *testing.B) *qmp.Client {
		c, err := qmp.Dial(b.Context(), p.Path)
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	b.Run("Command", func(b *testing.B) {
		c := open(b)
		defer c.Close()
		for b.Loop() {
			if _, err := c.Status(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("DialAndCommand", func(b *testing.B) {
		for b.Loop() {
			c := open(b)
			if _, err := c.Status(b.Context()); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	b.Run("Schema", func(b *testing.B) {
		c := open(b)
		defer c.Close()
		for b.Loop() {
			if err := c.Execute(b.Context(), "query-qmp-schema", nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
