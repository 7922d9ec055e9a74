// SPDX-License-Identifier: MIT
//
// waits: goroutines that block in system calls and on each other, for about half a second. Its
// import makes the program one with threads of C's where cgo is on.
package main

import (
	"os"
	"os/user"
	"sync"
	"syscall"
	"time"
)

//go:noinline
func readPipe(fd int) {
	var b [1]byte
	syscall.Read(fd, b[:])
}

//go:noinline
func worker(wg *sync.WaitGroup, lock *sync.Mutex) {
	defer wg.Done()
	for i := 0; i < 60; i++ {
		var fds [2]int
		syscall.Pipe(fds[:])
		go func() {
			lock.Lock()
			time.Sleep(2 * time.Millisecond)
			lock.Unlock()
			syscall.Write(fds[1], []byte("x"))
		}()
		readPipe(fds[0])
		syscall.Close(fds[0])
		syscall.Close(fds[1])
	}
}

func main() {
	var wg sync.WaitGroup
	var lock sync.Mutex
	user.Lookup("root")
	for i := 0; i < 3; i++ {
		wg.Add(1)
		go worker(&wg, &lock)
	}
	wg.Wait()
	os.Exit(0)
}
