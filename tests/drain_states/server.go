// The same as server.py on Go's net/http: `plain`, `tls13`, `tls12`, `no-tickets` and `h2c` on stdin, a port each on stdout.
// POST /echo sends back what comes, as a stream of gRPC does.
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func serve(w http.ResponseWriter, r *http.Request) {
	path := append(strings.Split(r.URL.Path, "/"), "", "")
	number, _ := strconv.ParseFloat(path[2], 64)
	pause := time.Duration(number * float64(time.Second))
	out := http.NewResponseController(w)
	switch path[1] {
	case "echo":
		out.Flush()
		part := make([]byte, 4096)
		for {
			n, err := r.Body.Read(part)
			w.Write(part[:n])
			out.Flush()
			if err != nil {
				return
			}
		}
	case "upload":
		io.Copy(io.Discard, r.Body)
		time.Sleep(pause)
	case "size":
		io.WriteString(w, strings.Repeat("x", int(number)))
		return
	case "slow":
		time.Sleep(pause)
	case "headers":
		w.WriteHeader(200)
		out.Flush()
		time.Sleep(pause)
	case "part":
		io.WriteString(w, strings.Repeat("x", 3000))
		out.Flush()
		time.Sleep(pause)
	case "events":
		times, _ := strconv.Atoi(path[3])
		for range times {
			io.WriteString(w, "data: something\n\n")
			out.Flush()
			time.Sleep(pause)
		}
	case "hints":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		time.Sleep(pause)
	}
	io.WriteString(w, "ok")
}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[1])
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(serve), Protocols: new(http.Protocols)}
		config := &tls.Config{Certificates: []tls.Certificate{certificate}}
		server.Protocols.SetHTTP1(true)
		fmt.Println(listener.Addr().(*net.TCPAddr).Port)
		switch lines.Text() {
		case "h2c":
			server.Protocols.SetUnencryptedHTTP2(true)
		case "tls12":
			config.MaxVersion = tls.VersionTLS12
		case "no-tickets":
			config.SessionTicketsDisabled = true
		}
		if strings.HasPrefix(lines.Text(), "t") || lines.Text() == "no-tickets" {
			listener = tls.NewListener(listener, config)
		}
		go server.Serve(listener)
	}
}
