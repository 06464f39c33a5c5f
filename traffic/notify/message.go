package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind is what a message is about. A filter of cutover.yaml names kinds.
type Kind string

// The kinds. They only ever grow.
const (
	Reverted Kind = "reverted" // by the verdict
	Held     Kind = "held"     // ended for lack of evidence, or blind, or out of time
	Aborted  Kind = "aborted"  // cut back by a person or a signal
	Refused  Kind = "refused"  // nginx did not take a tree, or did not serve it
	Failed   Kind = "failed"   // the stack did not come up; traffic was never touched
	Promoted Kind = "promoted" // accepted, the old stack still warm
	Finished Kind = "finished" // the old stack is retired
	Holding  Kind = "holding"  // holding or blind for five minutes, and still going on
	Approval Kind = "approval" // waiting for a person
	Guardian Kind = "guardian" // the guardian cut back because the promoter was gone
	Unproven Kind = "unproven" // nobody can tell what nginx serves
)

// Kinds are all of them, in the order in which a person would want to read them.
func Kinds() []Kind {
	return []Kind{Reverted, Held, Aborted, Refused, Failed, Promoted, Finished, Holding, Approval, Guardian, Unproven}
}

// Message is one thing to tell. The caller makes the sentence; nothing here looks anything up.
type Message struct {
	// ID names what happened, not the try to tell it: the same thing told twice has the same id and is sent once a day.
	// It has to differ between hosts. Letters, digits, - and _ only: a dot would make the signed content ambiguous.
	ID string `json:"id"`
	// At is when it happened.
	At          time.Time `json:"at"`
	App         string    `json:"app"`
	Environment string    `json:"environment,omitempty"`
	Host        string    `json:"host,omitempty"`
	// Rollout is the six digits; empty where it is about none.
	Rollout string `json:"rollout,omitempty"`
	// Release is the candidate's tag.
	Release string `json:"release,omitempty"`
	Kind    Kind   `json:"kind"`
	// Text is the one sentence, with its reason and its numbers.
	Text string `json:"text"`
	// Next is what to type, or what comes by itself. Often empty.
	Next string `json:"next,omitempty"`
	// Weight is the candidate's share at that moment, in percent.
	Weight float64 `json:"weight"`
	// Exit is the exit code of the command that ran the rollout; zero while it goes on.
	Exit int `json:"exit"`
}

// idForm is compiled when it is asked for, as variableForm is.
var idForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`) })

// lastYear is the last that RFC 3339 can write.
const lastYear = 9999

// Validate reports a message that could not be sent, or not be found again.
func (m Message) Validate() error {
	switch {
	case !idForm().MatchString(m.ID):
		return fmt.Errorf("message %q: the id must be 1 to 100 of A-Z, a-z, 0-9, - and _", m.ID)
	case m.At.Unix() <= 0 || m.At.UTC().Year() > lastYear:
		return fmt.Errorf("message %s: no time that can be meant: %s", m.ID, m.At)
	case m.App == "" || m.Kind == "" || m.Text == "":
		return fmt.Errorf("message %s: app, kind and text must not be empty", m.ID)
	case !(m.Weight >= 0 && m.Weight <= 100): // not a number is neither
		return fmt.Errorf("message %s: weight %v is outside 0 to 100 percent", m.ID, m.Weight)
	}
	return nil
}

// Environ is the message for a program that is run after the end: CUTOVER_* variables, ready to be joined to its environment.
// CUTOVER_ENV and CUTOVER_TAG are named as the hooks know them.
func (m Message) Environ() []string {
	variables := []struct{ name, value string }{
		{"ID", m.ID}, {"AT", m.At.UTC().Format(time.RFC3339)}, {"APP", m.App}, {"ENV", m.Environment}, {"HOST", m.Host},
		{"ROLLOUT", m.Rollout}, {"TAG", m.Release}, {"KIND", string(m.Kind)}, {"TEXT", m.Text}, {"NEXT", m.Next},
		{"WEIGHT", percent(m.Weight)}, {"EXIT", strconv.Itoa(m.Exit)},
	}
	environ := make([]string, len(variables))
	for i, v := range variables {
		environ[i] = "CUTOVER_" + v.name + "=" + strings.ReplaceAll(v.value, "\x00", "") // with a NUL no program would start
	}
	return environ
}

func percent(weight float64) string { return strconv.FormatFloat(weight, 'f', -1, 64) }

// tone is the color that a chat shows beside a message.
type tone int

const (
	attention tone = iota
	good
	bad
)

// headline is a kind as people say it, and its tone. A kind that is not known yet is said as it is.
func (k Kind) headline() (string, tone) {
	switch k {
	case Reverted:
		return "reverted by the verdict", bad
	case Held:
		return "taken back for lack of evidence", attention
	case Aborted:
		return "cut back", bad
	case Refused:
		return "nginx refused it", bad
	case Failed:
		return "failed before any traffic", bad
	case Promoted:
		return "promoted", good
	case Finished:
		return "finished", good
	case Holding:
		return "holding", attention
	case Approval:
		return "waits for approval", attention
	case Guardian:
		return "the guardian cut back", bad
	case Unproven:
		return "TRAFFIC NOT PROVEN", bad
	}
	return string(k), attention
}

// title says whose message this is: "shop prod v1.4.0: reverted by the verdict".
func (m Message) title() string {
	what, _ := m.Kind.headline()
	whose := strings.Join(strings.Fields(strings.Join([]string{m.App, m.Environment, m.Release}, " ")), " ")
	return whose + ": " + what
}

// context is the line of circumstances below the sentence.
func (m Message) context() string {
	parts := []string{"cutover"}
	if m.Rollout != "" {
		parts = append(parts, "rollout "+m.Rollout)
	}
	parts = append(parts, "weight "+percent(m.Weight)+" %")
	if m.Exit != 0 {
		parts = append(parts, "exit "+strconv.Itoa(m.Exit))
	}
	if m.Host != "" {
		parts = append(parts, m.Host)
	}
	return strings.Join(append(parts, m.At.UTC().Format("2006-01-02 15:04:05 MST")), ", ")
}

// parseMessage reads what Put has written.
func parseMessage(data []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return m, errors.New("is no message")
	}
	return m, m.Validate()
}
