mkfifo d/fifo
