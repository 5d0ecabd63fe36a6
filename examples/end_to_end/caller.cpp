// caller model.onnx photo.ppm                  (OpenVINO; its Python wheel brings headers and libraries)
#include <fstream>
#include <iomanip>
#include <iostream>
#include <openvino/openvino.hpp>

int main(int, char** argv) {
    ov::Core core;
    auto model = core.compile_model(argv[1], "CPU", ov::hint::inference_precision(ov::element::f32));
    std::ifstream file(argv[2], std::ios::binary);  // P6: any decoder that gives RGB bytes will do
    std::string magic;
    size_t width, height, most;
    file >> magic >> width >> height >> most;
    file.get();
    ov::Tensor image(ov::element::u8, {height, width, 3});
    file.read(reinterpret_cast<char*>(image.data()), image.get_byte_size());
    auto request = model.create_infer_request();
    request.set_tensor("image", image);
    request.infer();
    std::cout << request.get_tensor("index").data<int64_t>()[0] << " " << std::fixed
              << std::setprecision(3) << request.get_tensor("score").data<float>()[0] << "\n";
}
