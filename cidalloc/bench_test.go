package cidalloc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// BenchmarkLeaseHold measures one lease with its claim, and its release, with few
// and with many other leases in the space: in turn, so that what else the machine
// does hits all alike. It reports medians, and the ratio of the most to the least.
// The kernel is the real one where there is one.
func BenchmarkLeaseHold(b *testing.B) {
	sizes := []int{10, 1_000, 100_000}
	var ns *netns.NS
	if testenv.Has(testenv.VhostVsock) && testenv.Has(testenv.Root) {
		ns = testNetns(b, "bench", vsock.Global)
	}
	worlds := make([]*Allocator, len(sizes))
	for i, n := range sizes {
		worlds[i] = fullLedger(b, n)
		if ns == nil {
			worlds[i].host = &fakeHost{place: place{space: store.Global}, ownCID: vsock.Any, held: map[claim]string{}}
		}
	}
	took := make([][]time.Duration, len(sizes))
	for b.Loop() {
		for i, a := range worlds {
			began := time.Now()
			l, err := a.Acquire(b.Context(), Request{Machine: "web", NS: ns})
			if err != nil {
				b.Fatal(err)
			}
			if err := l.Release(b.Context()); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	median := func(i int) float64 {
		slices.Sort(took[i])
		return took[i][len(took[i])/2].Seconds() * 1e3
	}
	for i, n := range sizes {
		b.ReportMetric(median(i), fmt.Sprintf("ms/%d", n))
	}
	b.ReportMetric(median(len(sizes)-1)/median(0), "ratio")
}

// fullLedger returns an allocator on a store, on disk, in which n machines have a
// lease.
func fullLedger(b *testing.B, n int) *Allocator {
	b.Helper()
	s := store.New(b.TempDir())
	const batch = 10_000 // leases a transaction: one each would sync a hundred thousand times
	for done := 0; done < n; done += batch {
		err := s.Update(b.Context(), func(tx *store.Tx) error {
			for i := done; i < min(done+batch, n); i++ {
				l := store.Lease{CID: vsock.CID(1000 + i*40_000), Space: store.Global, Machine: fmt.Sprintf("m%06d", i), Taken: time.Now()}
				if err := tx.PutLease(l); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return New(s)
}

// BenchmarkIoctls counts what the kernel is asked until the Nth machine has a CID,
// beside linear probing from 3, as libvirt does (virVsockAcquireGuestCid), and
// random probing, as Incus does: where there are four thousand million numbers,
// and where a range leaves a hundredth more than is needed.
func BenchmarkIoctls(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		wide := everything()
		narrow := Range{vsock.FirstGuest, vsock.FirstGuest + vsock.CID(n+max(1, n/100)) - 1}
		b.Run(fmt.Sprintf("machines=%d", n), func(b *testing.B) { countIoctls(b, n, wide) })
		b.Run(fmt.Sprintf("machines=%d,narrow", n), func(b *testing.B) { countIoctls(b, n, narrow) })
	}
}

func countIoctls(b *testing.B, n int, in Range) {
	dir, err := os.MkdirTemp(memory(), "vmlaunch-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	kernel := func() *fakeHost {
		return &fakeHost{place: place{space: store.Global}, ownCID: vsock.Any, held: map[claim]string{}}
	}
	random := rand.New(rand.NewPCG(1, uint64(n)))
	a := New(store.New(dir))
	a.Ranges.Global = in
	ours := kernel()
	a.host = ours
	probing := map[string]struct {
		*fakeHost
		next func(try int) vsock.CID
	}{
		"linear": {kernel(), func(try int) vsock.CID { return in.First + vsock.CID(try) }},
		"random": {kernel(), func(int) vsock.CID { return in.First + vsock.CID(random.Uint64N(uint64(in.Last)-uint64(in.First)+1)) }},
	}
	claimNext := func(name string) guard {
		for try := 0; ; try++ {
			if g, err := probing[name].hold(place{space: store.Global}, probing[name].next(try)); err == nil {
				return g
			}
		}
	}
	for i := range n - 1 {
		if _, err := a.Acquire(b.Context(), Request{Machine: fmt.Sprintf("m%d", i)}); err != nil {
			b.Fatal(err)
		}
		claimNext("linear")
		claimNext("random")
	}
	ours.tried, probing["linear"].tried, probing["random"].tried = 0, 0, 0
	rounds := 0
	for b.Loop() {
		l, err := a.Acquire(b.Context(), Request{Machine: "last"})
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
		claimNext("linear").Close()
		claimNext("random").Close()
		rounds++
	}
	b.ReportMetric(float64(ours.tried)/float64(rounds), "ioctls/ours")
	for name, k := range probing {
		b.ReportMetric(float64(k.tried)/float64(rounds), "ioctls/"+name)
	}
}
