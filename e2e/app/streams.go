package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// tick is the pause between two parts of an answer that takes its time.
const tick = 50 * time.Millisecond

// stream answers in parts, for as long as it is asked to, and says at the end that this was all.
func (a *app) stream(w http.ResponseWriter, q *http.Request) {
	length, ok := milliseconds(w, q)
	if !ok {
		return
	}
	out := http.NewResponseController(w)
	for n := range length / tick {
		if _, err := fmt.Fprintf(w, "%s part %d\n", a.tag, n); err != nil || out.Flush() != nil {
			return
		}
		a.wait(q, tick)
	}
	fmt.Fprintf(w, "%s end\n", a.tag)
}

// upload tells what has arrived of the request's body.
func (a *app) upload(w http.ResponseWriter, q *http.Request) {
	sum := sha256.New()
	size, err := io.Copy(sum, q.Body)
	if err != nil {
		http.Error(w, "the body ended early: "+err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]any{"release": a.tag, "bytes": size, "sha256": fmt.Sprintf("%x", sum.Sum(nil))}
	_ = json.NewEncoder(w).Encode(answer) // fails only when the client is gone
}

// gRPC is HTTP/2 with messages that have their length before them, and with its status in the trailers. These are two of its codes.
const (
	grpcOK              = 0
	grpcInvalidArgument = 3
)

// grpcSay answers each message by itself with the tag before it: one or many, in either direction.
func (a *app) grpcSay(w http.ResponseWriter, q *http.Request) {
	a.grpcAnswers(w, q, func(message []byte) error { return sendMessage(w, fmt.Appendf(nil, "%s %s", a.tag, message)) })
}

// grpcCount answers one message, a number, with that many.
func (a *app) grpcCount(w http.ResponseWriter, q *http.Request) {
	a.grpcAnswers(w, q, func(message []byte) error {
		most, err := strconv.Atoi(string(message))
		for n := 0; n < most && err == nil; n++ {
			err = sendMessage(w, fmt.Appendf(nil, "%s part %d", a.tag, n))
			a.wait(q, tick)
		}
		return err
	})
}

// grpcAnswers hands each message of a call to answer, and ends the call with its status.
func (a *app) grpcAnswers(w http.ResponseWriter, q *http.Request, answer func(message []byte) error) {
	w.Header().Set("Content-Type", "application/grpc")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // a client may wait for the headers before its first message
	status, told := grpcOK, ""
	for {
		message, err := receiveMessage(q.Body)
		if err == nil {
			err = answer(message)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			status, told = grpcInvalidArgument, err.Error()
		}
		break
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(status))
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", told)
}

// mostMessage is the largest message that is taken.
const mostMessage = 1 << 20

// receiveMessage reads one message; io.EOF says that there are no more.
func receiveMessage(r io.Reader) ([]byte, error) {
	var head [5]byte // whether it is compressed, and its length
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if head[0] != 0 || length > mostMessage {
		return nil, fmt.Errorf("a message that is compressed, or of %d bytes", length)
	}
	message := make([]byte, length)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, io.ErrUnexpectedEOF // also where nothing came after the length
	}
	return message, nil
}

// sendMessage writes one message and has it on its way.
func sendMessage(w http.ResponseWriter, message []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	if _, err := w.Write(append(head, message...)); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
