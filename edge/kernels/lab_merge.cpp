// lab_merge.cu for the C++ compiler, which does not know that ending.
#include "lab_merge.cu"
