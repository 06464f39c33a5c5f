package nginxconf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic"
)

func TestBuckets_OfAWeight(t *testing.T) {
	for _, c := range []struct {
		count  int
		weight traffic.Weight
		want   int
	}{
		{100, 0, 0}, {100, 1, 1}, {100, 50, 1}, {100, 100, 1}, {100, 150, 1}, {100, 199, 1}, {100, 200, 2}, {100, 500, 5}, {100, 9999, 99}, {100, traffic.Full, 100},
		{1000, 1, 1}, {1000, 10, 1}, {1000, 50, 5}, {1000, 2000, 200}, {1000, 9999, 999}, {1000, traffic.Full, 1000},
	} {
		require.Equal(t, c.want, buckets{count: c.count}.of(c.weight), "%s of %d", c.weight, c.count)
	}
}

// A share that grows takes no bucket back, and each that can be given is given exactly.
func TestBuckets_Grow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := buckets{count: rapid.SampledFrom([]int{100, 1000}).Draw(t, "count")}
		less, more := rapid.IntRange(0, 10000).Draw(t, "less"), rapid.IntRange(0, 10000).Draw(t, "more")
		if less > more {
			less, more = more, less
		}
		require.LessOrEqual(t, b.of(traffic.Weight(less)), b.of(traffic.Weight(more)))
		n := rapid.IntRange(0, b.count).Draw(t, "buckets")
		require.Equal(t, n, b.of(b.weight(n)))
		if n > 0 {
			read, err := b.sized("../../" + b.set(n))
			require.NoError(t, err)
			require.Equal(t, n, read)
		}
	})
}

func TestBuckets_MakeASet(t *testing.T) {
	for _, count := range []int{100, 1000} {
		b := buckets{root: t.TempDir(), count: count}
		for _, n := range []int{1, 5, count} {
			require.NoError(t, os.MkdirAll(filepath.Join(b.root, b.set(n)+".new", "litter"), 0o755))
			require.NoError(t, b.make(n))
			require.NoError(t, b.make(n), "twice is as once")
			files, err := os.ReadDir(filepath.Join(b.root, b.set(n)))
			require.NoError(t, err)
			require.Len(t, files, n)
			require.Equal(t, b.name(0), files[0].Name())
			require.Equal(t, b.name(n-1), files[n-1].Name())
		}
	}
	_, err := buckets{count: 100}.sized("sets/1000/0005")
	require.ErrorContains(t, err, "no set of 100 buckets")
}
