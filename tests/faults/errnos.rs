//! With which errors the init's system calls can fail for a reason that can happen: what their man
//! pages name, less what only a mistake of the caller's makes (EBADF, EFAULT, EINVAL of an
//! argument) and less what no kernel does to a process like adieu. A call that is not listed is a
//! finding of its own: the test asks for its row.

use libc::*;

#[derive(Debug)]
pub struct Row {
    pub call: i64,
    pub name: &'static str,
    pub errnos: &'static [i32],
}

macro_rules! rows {
    ($($(#[$only:meta])* $call:ident: $($errno:ident)*;)+) => {
        pub const ROWS: &[Row] = &[$($(#[$only])* Row {
            call: $call,
            name: stringify!($call).split_at(4).1,
            errnos: &[$($errno),*],
        },)+];
    };
}

rows! {
    // Files.
    #[cfg(target_arch = "x86_64")] SYS_open: ENOENT EMFILE EACCES;
    SYS_openat: EMFILE ENOENT EACCES ENFILE ENOMEM;
    SYS_close: EIO EINTR;
    SYS_close_range: ENOSYS EPERM ENOMEM;
    SYS_read: EINTR EIO;
    SYS_pread64: EIO;
    SYS_write: EAGAIN EPIPE ENOSPC EINTR EIO;
    SYS_pwritev2: EAGAIN EPIPE ENOSPC EINTR EIO EOPNOTSUPP ENOSYS EPERM;
    SYS_writev: EAGAIN EPIPE ENOSPC;
    SYS_lseek: ESPIPE;
    SYS_statx: EACCES ENOSYS ENOENT;
    SYS_fstat: ENOMEM;
    #[cfg(target_arch = "x86_64")] SYS_stat: EACCES ENOENT;
    #[cfg(target_arch = "x86_64")] SYS_lstat: EACCES ENOENT;
    SYS_newfstatat: EACCES ENOENT;
    #[cfg(target_arch = "x86_64")] SYS_access: EACCES;
    #[cfg(target_arch = "x86_64")] SYS_readlink: EACCES ENOENT;
    SYS_readlinkat: EACCES ENOENT;
    SYS_getdents64: ENOENT;
    #[cfg(target_arch = "x86_64")] SYS_rename: EROFS ENOSPC EACCES;
    SYS_renameat: EROFS ENOSPC EACCES;
    SYS_renameat2: EROFS ENOSPC EACCES;
    #[cfg(target_arch = "x86_64")] SYS_unlink: EROFS EACCES ENOENT;
    SYS_unlinkat: EROFS EACCES ENOENT;
    SYS_ftruncate: EIO;
    SYS_fsync: EIO;
    SYS_fchmod: EROFS EPERM;
    SYS_chdir: EACCES ENOENT;
    SYS_getcwd: ENOENT;
    SYS_fcntl: EMFILE EAGAIN;
    SYS_ioctl: ENOTTY EIO;
    SYS_dup: EMFILE;
    SYS_dup3: EMFILE;
    #[cfg(target_arch = "x86_64")] SYS_dup2: EMFILE;
    SYS_pipe2: EMFILE ENFILE;
    SYS_getrandom: ENOSYS EPERM;
    SYS_uname: ;
    // Waiting.
    #[cfg(target_arch = "x86_64")] SYS_poll: EINTR ENOMEM;
    SYS_ppoll: EINTR ENOMEM;
    SYS_epoll_create1: EMFILE ENOMEM;
    SYS_epoll_ctl: ENOMEM ENOSPC;
    #[cfg(target_arch = "x86_64")] SYS_epoll_wait: EINTR;
    SYS_epoll_pwait: EINTR;
    SYS_epoll_pwait2: EINTR ENOSYS;
    SYS_signalfd4: EMFILE ENOMEM ENOSYS ENODEV;
    SYS_timerfd_create: EMFILE ENOMEM;
    SYS_timerfd_settime: ECANCELED;
    SYS_eventfd2: EMFILE;
    SYS_clock_gettime: ;
    SYS_clock_nanosleep: EINTR;
    SYS_nanosleep: EINTR;
    // Processes.
    SYS_clone: EAGAIN ENOMEM EPERM;
    SYS_clone3: ENOSYS EAGAIN ENOMEM;
    #[cfg(target_arch = "x86_64")] SYS_fork: EAGAIN ENOMEM;
    #[cfg(target_arch = "x86_64")] SYS_vfork: EAGAIN ENOMEM;
    SYS_execve: ENOENT EACCES ENOMEM ETXTBSY E2BIG;
    SYS_wait4: EINTR;
    SYS_waitid: EINTR;
    SYS_kill: EPERM;
    SYS_tgkill: EPERM ESRCH;
    SYS_rt_sigqueueinfo: EPERM EAGAIN ESRCH;
    SYS_pidfd_open: EMFILE ENOSYS EPERM;
    SYS_pidfd_getfd: EPERM EMFILE ENOSYS;
    SYS_pidfd_send_signal: EPERM ENOSYS EAGAIN;
    SYS_prctl: EINVAL EPERM;
    SYS_setpgid: EACCES EPERM;
    SYS_getpgid: ESRCH;
    SYS_setsid: EPERM;
    SYS_getsid: EPERM;
    SYS_prlimit64: EPERM;
    SYS_sysinfo: ;
    #[cfg(target_arch = "x86_64")] SYS_arch_prctl: ;
    // These cannot fail, or only by a mistake of the caller's.
    SYS_rt_sigprocmask: ;
    SYS_rt_sigaction: ;
    SYS_rt_sigreturn: ;
    SYS_rt_sigtimedwait: EAGAIN EINTR ENOSYS EPERM;
    SYS_sigaltstack: ENOMEM;
    SYS_getpid: ;
    SYS_getppid: ;
    SYS_gettid: ;
    #[cfg(target_arch = "x86_64")] SYS_getpgrp: ;
    SYS_getuid: ;
    SYS_geteuid: ;
    SYS_exit_group: ;
    SYS_exit: ;
    SYS_sched_yield: ;
    SYS_sched_getaffinity: ;
    SYS_futex: ;
    SYS_umask: ;
    // Memory: the allocator has two ways to get some, and gives none back that it needs.
    SYS_brk: ; // tells of a failure by the old address, never by an error
    SYS_mmap: ENOMEM;
    SYS_munmap: ;
    SYS_mprotect: ENOMEM;
    SYS_madvise: EAGAIN;
    // Sockets.
    SYS_socket: EMFILE EACCES EAFNOSUPPORT ENOBUFS;
    SYS_socketpair: EMFILE;
    SYS_bind: EADDRINUSE EACCES;
    SYS_listen: EADDRINUSE;
    SYS_accept4: EMFILE ECONNABORTED ENFILE ENOBUFS EPROTO;
    SYS_connect: ECONNREFUSED EAGAIN EACCES ENOENT ETIMEDOUT;
    SYS_sendto: EAGAIN ENOBUFS ECONNREFUSED EPIPE;
    SYS_sendmsg: EAGAIN ENOBUFS ECONNREFUSED;
    SYS_recvfrom: ECONNRESET ENOBUFS ENOMEM EINTR;
    SYS_recvmsg: ENOBUFS ENOMEM EINTR;
    SYS_setsockopt: ENOMEM ENOPROTOOPT;
    SYS_getsockopt: ENOBUFS;
    SYS_getsockname: ENOBUFS;
    SYS_getpeername: ENOTCONN;
    SYS_shutdown: ENOTCONN;
}
