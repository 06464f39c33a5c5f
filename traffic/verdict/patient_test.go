package verdict

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// With the second test of errors in the slow metric's place the total is still fair to a candidate that keeps to both limits: exactly,
// over all outcomes of three buckets.
func TestMeanOfTheTotalIsAtMostOne(t *testing.T) {
	tuned := newTuning(DefaultConfig())
	require.True(t, tuned.patient)
	for _, pb := range []float64{0, 0.001, 0.01, 0.05, 0.079} {
		pc := 1.25*pb + 0.001
		var outcomes []exposure
		var chances []float64
		for kc := 0.0; kc <= 2; kc++ {
			for kb := 0.0; kb <= 3; kb++ {
				outcomes = append(outcomes, exposure{nc: 2, kc: kc, nb: 3, kb: kb})
				chances = append(chances, binomial(2, kc, pc)*binomial(3, kb, pb))
			}
		}
		sum, n := 0.0, len(outcomes)
		for path := range n * n * n {
			e, chance := newEvidence(tuned), 1.0
			for _, i := range [...]int{path % n, path / n % n, path / n / n} {
				e.fold(bucket{errors: outcomes[i], seconds: 1})
				chance *= chances[i]
			}
			sum += chance * math.Exp(e.logM())
		}
		require.LessOrEqual(t, sum, 1+1e-9, "stable fails %v", pb)
		require.Greater(t, sum, 0.5, "stable fails %v: the bets are worth nothing", pb)
	}
}

// Only a metric that is off gives its part away.
func TestPatientStandsInForSlowness(t *testing.T) {
	require.NotNil(t, NewJudge(DefaultConfig()).evidence.patient)
	timed := DefaultConfig()
	timed.Latency.SlowerThan = 300 * time.Millisecond
	require.Nil(t, NewJudge(timed).evidence.patient)
}

// However many requests fail together, it takes them for no more than its tokens, and the next burst for next to nothing.
func TestPatientHasNoEarForBursts(t *testing.T) {
	p := newPatient(margin{1.25, 0.001})
	for second := range 4 {
		p.fold(exposure{nc: 50, kc: 50, nb: 950}, 1)
		require.LessOrEqual(t, p.logM(), patientBetting.burst+float64(second)*patientBetting.refill)
	}
	require.Greater(t, p.logM(), 1.0)
}
