// The release that the tests bring up: a tiny web server that can misbehave, by the MODE that its image carries.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	sick  atomic.Bool
	eaten [][]byte
)

// eat takes so many MiB and keeps them.
func eat(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.FormValue("mib"))
	for range n {
		bite := make([]byte, 1<<20)
		for i := range bite { // what is not written is not given
			bite[i] = byte(i)
		}
		eaten = append(eaten, bite)
	}
}

// used is what this process has had of the processor.
func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	word := "serve"
	if len(os.Args) > 1 {
		word = os.Args[1]
	}
	switch word {
	case "migrate":
		fmt.Println("applied 2 migrations of", os.Getenv("RELEASE"))
		return
	case "fail":
		fmt.Println("applying 0002_orders", os.Getenv("CUTOVER_APP"), os.Getenv("CUTOVER_ENV"), os.Getenv("CUTOVER_COLOR"), os.Getenv("CUTOVER_TAG"))
		fmt.Fprintln(os.Stderr, "column is missing")
		os.Exit(7)
	case "idle":
		fmt.Println("idle", os.Getenv("RELEASE"))
		<-ended
		return
	case "probe":
		answer, err := http.Get("http://127.0.0.1:8000" + os.Args[2])
		if err != nil || answer.StatusCode != http.StatusOK {
			fmt.Println("probe is not satisfied")
			os.Exit(1)
		}
		return
	}
	if os.Getenv("MODE") == "crash" {
		fmt.Println("cannot reach the database")
		os.Exit(3)
	}
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if os.Getenv("MODE") == "sick" || sick.Load() {
			http.Error(w, "no such table", http.StatusInternalServerError)
			fmt.Println("GET /healthz: no such table")
		}
	})
	http.HandleFunc("/api/version", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"version":%q}`, os.Getenv("RELEASE"))
	})
	http.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	http.HandleFunc("/sicken", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	http.HandleFunc("/mend", func(http.ResponseWriter, *http.Request) { sick.Store(false) })
	http.HandleFunc("/eat", eat)
	http.HandleFunc("/spin", func(http.ResponseWriter, *http.Request) {
		for begun := used(); used() < begun+2*time.Second; {
		}
	})
	go func() {
		<-ended
		os.Exit(0)
	}()
	server := &http.Server{Addr: ":8000", ReadHeaderTimeout: time.Second}
	fmt.Println(server.ListenAndServe())
	os.Exit(1)
}
