// Go's net/http with Shutdown on TERM: stops accepting, finishes its requests, exits with 0.
// GET /fast answers at once, GET /slow?seconds=N after N seconds; the port is $PORT on 127.0.0.1.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	http.HandleFunc("/fast", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "fast") })
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.ParseFloat(r.URL.Query().Get("seconds"), 64)
		if err != nil {
			seconds = 1
		}
		time.Sleep(time.Duration(seconds * float64(time.Second)))
		fmt.Fprintln(w, "slow")
	})
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT")}
	drained := make(chan error, 1)
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	go func() {
		<-stop.Done()
		drained <- server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-drained; err != nil {
		log.Fatal(err)
	}
}
