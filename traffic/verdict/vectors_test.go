package verdict

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A vector file holds what an independent implementation in another language computed.
type vectorFile struct {
	Defaults  map[string]float64
	Tolerance struct{ Abs, Rel float64 }
	Cases     []vector
}

type vector struct {
	ID, Name, Kind     string
	Params             map[string]float64
	Slow, Weight100    bool
	Mult, Rho, Delta   float64
	A, Pmax            float64
	NC, KC, NB, KB     float64
	PC, PB             float64
	Updates            []vectorUpdate
	Events             []vectorEvent
	Want               json.RawMessage
	WantLogM           []float64 `json:"want_ln_m"`
	WantFinalLogW      []float64 `json:"want_final_lw"`
	WantFinalTokens    []float64 `json:"want_final_tokens"`
	WantFinalLogP      []float64 `json:"want_final_lp"`
	WantFailIndex      int       `json:"want_fail_index"`
	defaults           map[string]float64
	absolute, relative float64
}

type vectorUpdate struct {
	BOK, BErr, COK, CErr float64
	BSlow, CSlow         float64
	Seconds              float64
	Repeat               int
}

func (u *vectorUpdate) UnmarshalJSON(b []byte) error {
	var raw map[string]float64
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*u = vectorUpdate{
		BOK: raw["b_ok"], BErr: raw["b_err"], COK: raw["c_ok"], CErr: raw["c_err"],
		BSlow: raw["b_slow"], CSlow: raw["c_slow"], Seconds: raw["dur_s"], Repeat: max(1, int(raw["repeat"])),
	}
	return nil
}

func (u vectorUpdate) bucket() bucket {
	nc, nb := u.COK+u.CErr, u.BOK+u.BErr
	return bucket{
		errors:  exposure{nc: nc, kc: u.CErr, nb: nb, kb: u.BErr},
		slow:    exposure{nc: nc, kc: u.CSlow, nb: nb, kb: u.BSlow},
		seconds: u.Seconds,
	}
}

type vectorEvent struct {
	TS   float64
	Pool string
	Bad  bool
}

func (v vector) param(name string) float64 {
	if p, ok := v.Params[name]; ok {
		return p
	}
	return v.defaults[name]
}

func (v vector) tuning() tuning {
	t := tuning{
		falseRevert: v.param("alpha"),
		falsePass:   v.param("alpha_pass"),
		errors:      margin{v.param("rho"), v.param("delta")},
		passErrors:  margin{v.param("rho_pass"), v.param("delta_pass")},
		ceiling:     v.param("pmax"),
		betting: betting{
			first: v.param("v1"), horizon: int(v.param("horizon")),
			burst: v.param("token_max"), refill: v.param("token_rate"),
		},
		passCap:     v.param("pass_cap"),
		passSeconds: v.param("min_soak_s"),
		passSample:  v.param("min_canary"),
		suspicion:   v.param("suspicion"),
	}
	if v.Slow {
		t.slow = &slowTuning{
			excess: margin{v.param("rho_slow"), v.param("delta_slow")},
			pass:   margin{v.param("rho_pass_slow"), v.param("delta_pass_slow")},
		}
	}
	return t
}

func (v vector) near(t *testing.T, want, got float64, what string, args ...any) {
	t.Helper()
	require.InDelta(t, want, got, max(v.absolute, v.relative*math.Abs(want)), append([]any{what}, args...)...)
}

func TestVectors(t *testing.T) {
	kinds := map[string]func(vector, *testing.T){
		"ell": vector.ell, "ceil_ell": vector.ceilingEll, "fail": vector.fail, "ceil": vector.ceil,
		"pass": vector.pass, "tf": vector.totalFailure, "judge": vector.judge, "expect": vector.expect,
	}
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	seen := map[string]bool{}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		require.NoError(t, err)
		var file vectorFile
		require.NoError(t, json.Unmarshal(raw, &file))
		require.NotEmpty(t, file.Cases, name)
		require.Equal(t, []float64{errorsPart, slowPart, ceilingPart},
			[]float64{file.Defaults["w_err"], file.Defaults["w_slow"], file.Defaults["w_ceil"]})
		for _, v := range file.Cases {
			v.defaults, v.absolute, v.relative = file.Defaults, file.Tolerance.Abs, file.Tolerance.Rel
			hold, ok := kinds[v.Kind]
			seen[v.Kind] = true
			require.True(t, ok, "%s has the unknown kind %q", v.ID, v.Kind)
			t.Run(filepath.Base(name)+"/"+v.ID+" "+v.Name, func(t *testing.T) { hold(v, t) })
		}
	}
	require.Len(t, seen, len(kinds), "some kind has no vector")
}

func (v vector) ell(t *testing.T) {
	var want struct {
		LnA *float64 `json:"ln_a"`
		LnB *float64 `json:"ln_b"`
		Ell float64
	}
	require.NoError(t, json.Unmarshal(v.Want, &want))
	x := exposure{nc: v.NC, kc: v.KC, nb: v.NB, kb: v.KB}
	v.near(t, want.Ell, margin{v.Rho, v.Delta}.ell(v.Mult, x), "ell")
	lnA, lnB, _ := logStakes(v.Mult, v.Rho, v.NC, v.NB)
	if want.LnA != nil {
		v.near(t, *want.LnA, lnA, "ln a")
	}
	if want.LnB != nil {
		v.near(t, *want.LnB, lnB, "ln b")
	}
}

func (v vector) ceilingEll(t *testing.T) {
	var want float64
	require.NoError(t, json.Unmarshal(v.Want, &want))
	v.near(t, want, oneArmedEll(v.A, v.Pmax, exposure{nc: v.NC, kc: v.KC}), "ell")
}

// each folds all updates and checks the evidence after each of them.
func (v vector) each(t *testing.T, fold func(bucket), logM func() float64) {
	require.Len(t, v.WantLogM, len(v.Updates))
	for i, u := range v.Updates {
		for range u.Repeat {
			fold(u.bucket())
		}
		v.near(t, v.WantLogM[i], logM(), "after update %d", i)
	}
}

func (v vector) components(t *testing.T, p process) {
	for i, c := range p.components {
		v.near(t, v.WantFinalLogW[i], c.logW, "ln W of component %d", i)
		v.near(t, v.WantFinalTokens[i], c.tokens, "tokens of component %d", i)
	}
}

func (v vector) fail(t *testing.T) {
	e := newExcess(v.tuning().errors, v.tuning().betting)
	v.each(t, func(b bucket) { e.fold(b.errors, b.seconds) }, e.logM)
	v.components(t, e.process)
}

func (v vector) ceil(t *testing.T) {
	c := newCeiling(v.tuning().ceiling, v.tuning().betting)
	v.each(t, func(b bucket) { c.fold(b.errors, b.seconds) }, c.logM)
	v.components(t, c.process)
}

func (v vector) pass(t *testing.T) {
	a := assurance{margin: v.tuning().passErrors, cap: v.tuning().passCap}
	v.each(t, func(b bucket) { a.fold(b.errors) }, a.log)
	for i, want := range v.WantFinalLogP {
		v.near(t, want, a.logP[i], "ln P of component %d", i)
	}
}

func (v vector) totalFailure(t *testing.T) {
	share := 0.05
	if v.Weight100 {
		share = 1
	}
	var f totalFailure
	convicted := -1
	for i, e := range v.Events {
		s := Sample{Bad: e.Bad}
		if e.Pool == "c" {
			s.Arm = Candidate
		}
		at := moment(math.Round(e.TS*1000)) * moment(time.Millisecond)
		if f.observe(at, s, share) && convicted < 0 {
			convicted = i
		}
	}
	require.Equal(t, v.WantFailIndex, convicted)
}

func (v vector) judge(t *testing.T) {
	var wants []struct {
		LnErr      float64  `json:"ln_err"`
		LnSlow     float64  `json:"ln_slow"`
		LnCeil     float64  `json:"ln_ceil"`
		LnM        float64  `json:"ln_m"`
		LnPassErr  float64  `json:"ln_pass_err"`
		LnPassSlow *float64 `json:"ln_pass_slow"`
		Decision   string
	}
	require.NoError(t, json.Unmarshal(v.Want, &wants))
	words := map[Decision]string{Failed: "FAIL", Passed: "PASS", Undecided: "HOLD"}
	e := newEvidence(v.tuning())
	for i, u := range v.Updates {
		for range u.Repeat {
			e.fold(u.bucket())
		}
		want := wants[i]
		v.near(t, want.LnErr, e.errors.logM(), "errors after update %d", i)
		v.near(t, want.LnCeil, e.ceiling.logM(), "ceiling after update %d", i)
		v.near(t, want.LnM, e.logM(), "total after update %d", i)
		v.near(t, want.LnPassErr, e.errors.pass.log(), "pass of errors after update %d", i)
		require.Equal(t, want.LnPassSlow != nil, e.slow != nil)
		if e.slow != nil {
			v.near(t, want.LnSlow, e.slow.logM(), "slow after update %d", i)
			v.near(t, *want.LnPassSlow, e.slow.pass.log(), "pass of slow after update %d", i)
		}
		require.Equal(t, want.Decision, words[e.decide()], "after update %d", i)
	}
}

func (v vector) expect(t *testing.T) {
	var want float64
	require.NoError(t, json.Unmarshal(v.Want, &want))
	g := margin{v.Rho, v.Delta}
	got := mean(v.NC, v.PC, v.NB, v.PB, func(x exposure) float64 { return math.Exp(g.ell(v.Mult, x)) })
	v.near(t, want, got, "mean of the e-value")
}

// mean is the exact expectation of f over independent failures of n candidate and baseline requests.
func mean(nc, pc, nb, pb float64, f func(exposure) float64) (sum float64) {
	for kc := 0.0; kc <= nc; kc++ {
		for kb := 0.0; kb <= nb; kb++ {
			sum += binomial(nc, kc, pc) * binomial(nb, kb, pb) * f(exposure{nc: nc, kc: kc, nb: nb, kb: kb})
		}
	}
	return sum
}

func binomial(n, k, p float64) float64 {
	ways := 1.0
	for i := 1.0; i <= k; i++ {
		ways *= (n - k + i) / i
	}
	return ways * math.Pow(p, k) * math.Pow(1-p, n-k)
}
