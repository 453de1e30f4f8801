/* A camera for processes that are started with this in LD_PRELOAD: opening $V4L2_CAMERA gives one whose ioctls answer
 * as a driver's do. The structures and numbers are the kernel's own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int answer_format(struct v4l2_fmtdesc *format) {
    static const unsigned kinds[] = {V4L2_PIX_FMT_GREY, V4L2_PIX_FMT_MJPEG};
    if (format->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || format->index >= 2) return EINVAL;
    format->pixelformat = kinds[format->index];
    strcpy((char *)format->description, "of a test");
    return 0;
}

static int answer_size(struct v4l2_frmsizeenum *size) {
    if (size->pixel_format == V4L2_PIX_FMT_MJPEG) { /* a range of sizes */
        if (size->index > 0) return EINVAL;
        size->type = V4L2_FRMSIZE_TYPE_STEPWISE;
        size->stepwise = (struct v4l2_frmsize_stepwise){160, 1920, 8, 120, 1080, 8};
        return 0;
    }
    if (size->index > 1) return EINVAL;
    size->type = V4L2_FRMSIZE_TYPE_DISCRETE;
    size->discrete.width = size->index ? 640 : 1280;
    size->discrete.height = size->index ? 480 : 720;
    return 0;
}

static int answer_interval(struct v4l2_frmivalenum *interval) {
    if (interval->pixel_format == V4L2_PIX_FMT_MJPEG) return ENOTTY; /* does not tell */
    if (interval->index > 1) return EINVAL;
    interval->type = V4L2_FRMIVAL_TYPE_DISCRETE;
    interval->discrete = (struct v4l2_fract){1, interval->index ? 10 : 60};
    return 0;
}

static int answer(unsigned long request, void *argument) {
    struct v4l2_capability *capability = argument;
    switch (request) {
    case VIDIOC_QUERYCAP:
        strcpy((char *)capability->card, "Night eye");
        capability->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_DEVICE_CAPS;
        capability->device_caps = getenv("V4L2_METADATA") ? V4L2_CAP_META_CAPTURE : V4L2_CAP_VIDEO_CAPTURE;
        return 0;
    case VIDIOC_ENUM_FMT: return answer_format(argument);
    case VIDIOC_ENUM_FRAMESIZES: return answer_size(argument);
    case VIDIOC_ENUM_FRAMEINTERVALS: return answer_interval(argument);
    default: return ENOTTY;
    }
}

int ioctl(int descriptor, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (_IOC_TYPE(request) != 'V') {
        int (*real)(int, unsigned long, void *) = (int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl");
        return real(descriptor, request, argument);
    }
    errno = answer(request & 0xffffffffUL, argument);
    return errno ? -1 : 0;
}
