// The operator Wave of the domain example.kernel for OpenVINO: sin(rate * x) + x.
//
//     W=$(python -c "import openvino, os; print(os.path.dirname(openvino.__file__))")
//     g++ -std=c++17 -shared -fPIC -O2 wave_openvino.cpp -I$W/include $W/libs/libopenvino.so.* \
//         $W/libs/libopenvino_onnx_frontend.so.* -o libwave_openvino.so
//
// OpenVINO's own libraries have been loaded by the time this one is, so it finds them anywhere.
#include <cmath>
#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/frontend/onnx/extension/conversion.hpp>
#include <openvino/op/op.hpp>

class Wave : public ov::op::Op {
public:
    OPENVINO_OP("Wave", "example.kernel");

    Wave() = default;
    Wave(const ov::Output<ov::Node>& x, float rate) : Op({x}), m_rate(rate) {
        constructor_validate_and_infer_types();
    }

    void validate_and_infer_types() override {
        set_output_type(0, get_input_element_type(0), get_input_partial_shape(0));
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<Wave>(inputs.at(0), m_rate);
    }

    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("rate", m_rate);
        return true;
    }

    bool has_evaluate() const override {
        return get_input_element_type(0) == ov::element::f32;
    }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        outputs[0].set_shape(inputs[0].get_shape());
        const float* x = static_cast<const float*>(inputs[0].data());
        float* y = static_cast<float*>(outputs[0].data());
        for (size_t i = 0; i < inputs[0].get_size(); i++)
            y[i] = std::sin(m_rate * x[i]) + x[i];
        return true;
    }

private:
    float m_rate = 1.0f;
};

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>({
    std::make_shared<ov::OpExtension<Wave>>(),
    std::make_shared<ov::frontend::onnx::ConversionExtension>(
        "Wave",
        "example.kernel",
        [](const ov::frontend::NodeContext& node) -> ov::OutputVector {
            return {std::make_shared<Wave>(node.get_input(0), node.get_attribute<float>("rate"))};
        }),
}));
