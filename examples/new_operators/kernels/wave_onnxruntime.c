/* The operator Wave of the domain example.kernel for ONNX Runtime: sin(rate * x) + x.
 *
 *     gcc -shared -fPIC -O2 wave_onnxruntime.c -lm -o libwave_onnxruntime.so
 *
 * With a release of ONNX Runtime at hand, include its onnxruntime_c_api.h instead of what is declared
 * here. Its Python wheel has no headers, so this file declares the few functions that it calls, by their
 * places in the table of functions. These never change: new versions only append.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define API_VERSION 8 /* the oldest with all that is used here; newer runtimes give it out too */
#define FLOAT_TENSOR 1
#define REQUIRED 0

typedef void Status; /* NULL is success */
typedef struct Api {
  void* functions[100];
} Api;
typedef struct ApiBase {
  const Api* (*get_api)(uint32_t version);
  const char* (*get_version)(void);
} ApiBase;

enum Place {
  CREATE_CUSTOM_OP_DOMAIN = 26,
  CUSTOM_OP_DOMAIN_ADD = 27,
  ADD_CUSTOM_OP_DOMAIN = 28,
  GET_TENSOR_MUTABLE_DATA = 51,
  GET_DIMENSIONS_COUNT = 61,
  GET_DIMENSIONS = 62,
  GET_TENSOR_TYPE_AND_SHAPE = 65,
  KERNEL_INFO_GET_ATTRIBUTE_FLOAT = 85,
  KERNEL_CONTEXT_GET_INPUT = 90,
  KERNEL_CONTEXT_GET_OUTPUT = 91,
  RELEASE_TENSOR_TYPE_AND_SHAPE_INFO = 99,
};

#define MOST_DIMENSIONS 16

typedef struct CustomOp {
  uint32_t version;
  void* (*create_kernel)(const struct CustomOp*, const Api*, const void* info);
  const char* (*get_name)(const struct CustomOp*);
  const char* (*get_provider)(const struct CustomOp*);
  int (*get_input_type)(const struct CustomOp*, size_t);
  size_t (*get_input_count)(const struct CustomOp*);
  int (*get_output_type)(const struct CustomOp*, size_t);
  size_t (*get_output_count)(const struct CustomOp*);
  void (*compute)(void* kernel, void* context);
  void (*destroy)(void* kernel);
  int (*get_input_characteristic)(const struct CustomOp*, size_t);
  int (*get_output_characteristic)(const struct CustomOp*, size_t);
} CustomOp;

typedef struct Kernel {
  const Api* api;
  float rate;
} Kernel;

void* malloc(size_t);
void free(void*);

static void* create_kernel(const CustomOp* op, const Api* api, const void* info) {
  Status* (*attribute)(const void*, const char*, float*) =
      (Status * (*)(const void*, const char*, float*)) api->functions[KERNEL_INFO_GET_ATTRIBUTE_FLOAT];
  Kernel* kernel = malloc(sizeof(Kernel));
  (void)op;
  kernel->api = api;
  kernel->rate = 1.0f;
  attribute(info, "rate", &kernel->rate);
  return kernel;
}

static void compute(void* self, void* context) {
  const Kernel* kernel = self;
  void* const* call = kernel->api->functions;
  Status* (*input)(const void*, size_t, const void**) =
      (Status * (*)(const void*, size_t, const void**)) call[KERNEL_CONTEXT_GET_INPUT];
  Status* (*output)(void*, size_t, const int64_t*, size_t, void**) =
      (Status * (*)(void*, size_t, const int64_t*, size_t, void**)) call[KERNEL_CONTEXT_GET_OUTPUT];
  Status* (*shape_of)(const void*, void**) =
      (Status * (*)(const void*, void**)) call[GET_TENSOR_TYPE_AND_SHAPE];
  Status* (*rank_of)(const void*, size_t*) = (Status * (*)(const void*, size_t*)) call[GET_DIMENSIONS_COUNT];
  Status* (*sizes_of)(const void*, int64_t*, size_t) =
      (Status * (*)(const void*, int64_t*, size_t)) call[GET_DIMENSIONS];
  void (*release)(void*) = (void (*)(void*))call[RELEASE_TENSOR_TYPE_AND_SHAPE_INFO];
  Status* (*data_of)(void*, void**) = (Status * (*)(void*, void**)) call[GET_TENSOR_MUTABLE_DATA];

  const void* x = NULL;
  void *shape = NULL, *y = NULL, *from = NULL, *to = NULL;
  int64_t sizes[MOST_DIMENSIONS], count = 1;
  size_t rank = 0;
  input(context, 0, &x);
  shape_of(x, &shape);
  rank_of(shape, &rank);
  if (rank > MOST_DIMENSIONS) rank = MOST_DIMENSIONS;
  sizes_of(shape, sizes, rank);
  release(shape);
  output(context, 0, sizes, rank, &y);
  data_of((void*)x, &from);
  data_of(y, &to);
  for (size_t axis = 0; axis < rank; axis++) count *= sizes[axis];
  for (int64_t i = 0; i < count; i++)
    ((float*)to)[i] = sinf(kernel->rate * ((const float*)from)[i]) + ((const float*)from)[i];
}

static const char* get_name(const CustomOp* op) { (void)op; return "Wave"; }
static const char* get_provider(const CustomOp* op) { (void)op; return NULL; } /* the processor */
static int tensor_type(const CustomOp* op, size_t index) { (void)op; (void)index; return FLOAT_TENSOR; }
static size_t one(const CustomOp* op) { (void)op; return 1; }
static int required(const CustomOp* op, size_t index) { (void)op; (void)index; return REQUIRED; }

static const CustomOp WAVE = {
    API_VERSION, create_kernel, get_name, get_provider, tensor_type, one,
    tensor_type, one,           compute,  free,         required,    required,
};

/* ONNX Runtime looks for this name. */
Status* RegisterCustomOps(void* options, const ApiBase* base) {
  const Api* api = base->get_api(API_VERSION);
  Status* (*create)(const char*, void**) =
      (Status * (*)(const char*, void**)) api->functions[CREATE_CUSTOM_OP_DOMAIN];
  Status* (*add)(void*, const CustomOp*) =
      (Status * (*)(void*, const CustomOp*)) api->functions[CUSTOM_OP_DOMAIN_ADD];
  Status* (*give)(void*, void*) = (Status * (*)(void*, void*)) api->functions[ADD_CUSTOM_OP_DOMAIN];
  void* domain = NULL; /* sessions use it as long as the process lives */
  Status* problem = create("example.kernel", &domain);
  if (!problem) problem = add(domain, &WAVE);
  return problem ? problem : give(options, domain);
}
